#pragma once

#include <string_view>

namespace kvtape {

/// The style sheet of the page of `kvtape diff`.
inline constexpr std::string_view diff_page_style = R"css(
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--faint:#656e78;--page:#fff;--card:#f6f8fa;--line:#d1d9e0;
--both:#e4e8ec;--a:#cfe3ff;--a-ink:#0b3d91;--b:#ffe0bf;--b-ink:#7a3b00;--needle:#b3126b;--link:#0550ae}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b1;--faint:#8b949e;--page:#0d1117;--card:#161b22;
--line:#30363d;--both:#2b323b;--a:#123a75;--a-ink:#cfe3ff;--b:#653806;--b-ink:#ffe0bf;--needle:#ff7ac0;--link:#79b8ff}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:80rem;background:var(--page);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:.2rem 0 1rem}h2{font-size:1.2rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:0}
a{color:var(--link)}a:focus-visible,.scroll:focus-visible,summary:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.sides{display:grid;gap:.5rem;margin:0}.sides div{padding:.6rem .8rem;border-left:.3rem solid var(--line);background:var(--card);overflow-wrap:anywhere}
.sides .side-a{border-color:var(--a-ink)}.sides .side-b{border-color:var(--b-ink)}
.sides p{margin:.1rem 0;color:var(--soft);font-size:.85rem}
.total{font-size:1.15rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .55rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--page)}
th{color:var(--soft);font-weight:600}
.changed{color:var(--needle);font-weight:700}
summary{cursor:pointer;padding:.35rem 0}
.legend{display:flex;flex-wrap:wrap;gap:.4rem 1.2rem;padding:0;list-style:none;font-size:.9rem}
section{margin:1.5rem 0;padding-top:.8rem;border-top:1px solid var(--line)}
section:target h3{text-decoration:underline;text-underline-offset:.25em}
.facts{margin:.2rem 0 .6rem;color:var(--soft);font-size:.85rem}
.pair{display:grid;gap:.8rem}
.strip{padding:.6rem .7rem;background:var(--card);border:1px solid var(--line);border-radius:.4rem;
font:.8rem/1.75 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.strip b{font-weight:600}
.name{display:block;margin-bottom:.2rem;font:600 .8rem/1.5 system-ui,sans-serif}
i,u,s,q{font-style:normal;text-decoration:none;unicode-bidi:isolate;padding:.1em 0;border-radius:.15em}q::before,q::after{content:none}
s{color:var(--faint)}
u{background:var(--both)}
i{background:var(--a);color:var(--a-ink);border-bottom:2px solid var(--a-ink)}
.of-b i,i.key-b{background:var(--b);color:var(--b-ink);border-bottom-color:var(--b-ink)}
q{color:var(--faint);border-bottom:2px dashed var(--faint)}
.n{outline:2px solid var(--needle);outline-offset:-1px}
.gap{color:var(--soft);font-style:italic}
footer{margin-top:2rem;color:var(--soft);font-size:.85rem}
@media (min-width:48rem){.sides,.pair{grid-template-columns:minmax(0,1fr) minmax(0,1fr)}}
@media (max-width:30rem){body{padding:.7rem}th,td{padding:.2rem .4rem}}
)css";

/// `sha256-...` of the style sheet, for the page's content security policy.
inline constexpr std::string_view diff_page_style_hash =
    "sha256-4O6P4tTZQ2mHB/PQZ1cJAmX654L6SX4+HpKkZfEEGqw=";

}  // namespace kvtape
