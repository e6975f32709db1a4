#!/usr/bin/env bash
# What does not exist is refused with one line that helps, before anything is written.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

expect_success --version
expect_output '^kvtape [0-9]+\.[0-9]+\.[0-9]+$'
expect_success --help
for verb in record info check policies replay diff; do
    expect_output "^  $verb "
done
for verb in record info check policies replay diff; do
    expect_success "$verb" --help
    expect_output "^usage: kvtape $verb"
    expect_output '^examples:'
done

expect_refusal 2 "no verb 'rekord'; did you mean 'record'" rekord
expect_refusal 2 'quiett' record --quiett
expect_refusal 2 'threads' policies --threads 0
expect_refusal 2 'threads' policies --threads -3
expect_refusal 2 'threads' policies --threads many

expect_success policies
for policy in full random oracle streaming_llm knorm tova snapkv h2o lagkv; do
    expect_output "$policy"
    expect_success policies "$policy"
    expect_output "$policy"
    expect_success policies
done
expect_success policies lagkv
expect_output 'lag'
expect_output 'sinks'
expect_success policies --json
python3 -m json.tool stdout >/dev/null || complain 'policies --json does not print one JSON document'
expect_refusal 2 'lagkvv.*lagkv' policies lagkvv

replay() {
    local code=$1 pattern=$2
    shift 2
    expect_refusal "$code" "$pattern" replay "$small" --out replayed "$@"
    expect_absent replayed
}
replay 2 'snapkw.*snapkv' --policy snapkw --budget 0.5
replay 2 'windoww.*window' --policy snapkv:windoww=8 --budget 0.5
replay 2 'window' --policy snapkv:window=-1 --budget 0.5
replay 2 'window' --policy snapkv:window=wide --budget 0.5
replay 2 'snapkv' --policy 'snapkv:window=8,window=16' --budget 0.5
replay 2 'snapkv' --policy 'snapkv:' --budget 0.5
replay 2 'policy' --policy '' --budget 0.5
for budget in 0 0% -1 101% 1.5 many '' 0.5,0.5 0t 12x 1%..50%:1 50%..1%:4 1e400 0x10 nan; do
    replay 2 'budget' --policy knorm "--budget=$budget"
done
replay 2 "budgets ','.*nothing.*comma" --policy knorm --budget ,
replay 2 "budgets '5%,,10%'.*nothing.*comma" --policy knorm --budget 5%,,10%
replay 2 "'50%' appears twice" --policy knorm --budget 0.5,50%
replay 2 '--policies all and --policy' --policies all --policy knorm --budget 0.5
replay 2 "--layers: '1' appears twice in '1,1'" --policy knorm --budget 0.5 --layers 1,1
replay 2 "--sequences: '0' appears twice" --policy knorm --budget 0.5 --sequences 0,1,0
replay 2 'least|one token|cannot hold' --policy knorm --budget 1B
replay 2 'schedule' --policy knorm --budget 0.5 --schedule sometimes
replay 2 'query.source' --policy knorm --budget 0.5 --query-source everyone
replay 2 'sequence' --policy knorm --budget 0.5 --sequences 99
replay 2 'task' --policy knorm --budget 0.5 --tasks cooking
replay 2 'layer' --policy knorm --budget 0.5 --layers 99
replay 2 'policy' --budget 0.5
replay 2 'budget' --policy knorm

record() {
    local code=$1 pattern=$2
    shift 2
    expect_refusal "$code" "$pattern" record --out recorded.kvtape.h5 "$@"
    expect_absent recorded.kvtape.h5
}
record 2 'passkye.*passkey' --workload passkye
record 2 'digit.*digits' --workload passkey:digit=5
record 2 'digits' --workload passkey:digits=0
record 2 'digits' --workload passkey:digits=many
record 2 'workload' --length 256
record 2 'length' --workload passkey --length 0
record 2 'length|token|context' --workload passkey:digits=64 --length 20
record 2 'sequences' --workload passkey --sequences 0
record 2 'depth' --workload passkey --depth 1.5
record 2 'depth' --workload passkey --depth deep
record 2 'device' --workload passkey --device abacus
record 2 'dtype' --workload passkey --dtype int4
record 2 'queries' --workload passkey --queries last=-1
record 2 'attention' --workload passkey --attention some
expect_refusal 2 'out' record --workload passkey --length 256
record 2 '16777216.*from 1 to 1048576' --workload where --length 16777216
expect_refusal 2 '--out is empty' record --workload where --out ''
expect_refusal 2 '--out is empty' replay "$small" --policy knorm --budget 0.5 --out ''

for option in model prompts depth dtype; do
    record 2 "--$option is empty" --workload where "--$option" ''
done
expect_success help record
expect_output '^usage: kvtape record'
expect_success record -h
expect_output '^usage: kvtape record'
expect_success -h
expect_output '^usage: kvtape VERB'
expect_refusal 2 "the verb comes first, found '--seed'" --seed 3 record
for verb in info check; do
    expect_refusal 4 'opening a file: its name is empty' "$verb" ''
done

expect_refusal 2 'benchmarking analyze: name results with --dir' bench analyze
expect_refusal 2 'prompt-tokens is 9000, but the model has 8192 positions' bench prompt --prompt-tokens 9000
expect_refusal 2 '--tokens is 99999999; it must be at most' bench scorers --tokens 99999999

# What is missing is named as the synopsis names it.
expect_refusal 2 'replay needs TRACE;' replay --policy knorm --budget 0.5 --out replayed
expect_refusal 2 'replay needs --budget LIST;' replay "$small" --policy knorm --out replayed
expect_refusal 2 'info needs FILE;' info
expect_refusal 2 'check needs FILE;' check
expect_refusal 2 'record needs --out FILE;' record --workload passkey
expect_refusal 2 'usage: kvtape info FILE' info "$small" "$small"
finish
