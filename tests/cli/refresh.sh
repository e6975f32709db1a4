#!/usr/bin/env bash
# ./dev refresh names its parts and refuses others before any work; refresh_tables.py puts printed
# numbers into tables, keeps a document's words and choice of rows, and names tables it cannot match.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"
root=$here/../..

"$root/dev" refresh --help >stdout 2>stderr || complain './dev refresh --help fails'
for part in vectors demo pictures guide claims truth evaluation; do
    expect_output "^  $part "
done
for arguments in nothing 'demo nothing' --force; do
    # shellcheck disable=SC2086
    "$root/dev" refresh $arguments >stdout 2>stderr && complain "./dev refresh $arguments succeeds"
    [[ $(wc -l <stderr) == 1 && ! -s stdout ]] || complain "./dev refresh $arguments: $(cat stdout stderr)"
    grep -q 'there is no part .*; the parts are vectors demo' stderr || complain "$(cat stderr)"
done

tables() {
    python3 "$root/tools/refresh_tables.py" "$@" >stdout 2>stderr
}

cat >document.md <<'TEXT'
Words | with a bar.

| policy | 2 % | 5 % |
|---|---|---|
| `h2o` | 0.10 | 0.20 |
| `full` | 1.00 | 1.00 |

```
needle kept   2%    5%
-----------  ----  ----
random       0.01  0.02
* a note
```

| other | 2 % |
|---|---|
| `h2o` | 7 |

| spec | budget | right |
|---|---|---|
| `h2o` | 5 % | 1/2 |
| `h2o` | 10 % | 2/2 |
TEXT
cat >printed.txt <<'TEXT'
needle kept   2%    10%
-----------  -----  ----
full         1.00   1.00
random       0.31*  0.32
TEXT
cat >printed.md <<'TEXT'
| policy | 3 % | 6 % |
|---|---|---|
| `full` | 0.90 | 0.91 |
| `snapkv` | 0.92 | 0.93 |
| `h2o` | 0.94 | 0.95 |

| other | 2 % |
|---|---|
| `snapkv` | 8 |

| other | 2 % |
|---|---|
| `h2o` | 8 |
| `h2o` | 9 |

| spec | budget | right |
|---|---|---|
| `full` | 5 % | 4/4 |
| `h2o` | 10 % | 4/4 |
| `h2o` | 5 % | 3/4 |
TEXT
cat >expected.md <<'TEXT'
Words | with a bar.

| policy | 3 % | 6 % |
|---|---|---|
| `h2o` | 0.94 | 0.95 |
| `full` | 0.90 | 0.91 |

```
needle kept   2%    10%
-----------  -----  ----
random       0.31*  0.32
* a note
```

| other | 2 % |
|---|---|
| `h2o` | 7 |

| spec | budget | right |
|---|---|---|
| `h2o` | 5 % | 3/4 |
| `h2o` | 10 % | 4/4 |
TEXT
tables document.md printed.txt printed.md || complain "refresh_tables.py fails: $(cat stderr)"
cmp -s document.md expected.md || complain "other tables: $(diff document.md expected.md)"
grep -qx 'document.md: 3 tables have new numbers' stderr || complain "$(cat stderr)"
grep -qF 'document.md:15: no printed table matches: | other | 2 % |' stderr || complain "$(cat stderr)"
tables document.md printed.txt printed.md
cmp -s document.md expected.md || complain 'the same numbers change a document'

tables document.md absent.txt && complain 'an absent file is accepted'
grep -q '^refresh_tables.py: .*absent.txt' stderr || complain "$(cat stderr)"
tables document.md && complain 'a document alone is accepted'
finish
