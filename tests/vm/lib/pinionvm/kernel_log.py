# SPDX-License-Identifier: BSD-3-Clause
"""Finds in a kernel log what must never pass unseen."""

import re
from dataclasses import dataclass, field

# (what it is, the line that starts it, the line that ends its text or None)
_END = r"---\[ end |</TASK>"
RULES = [
    ("panic", r"Kernel panic - not syncing", r"---\[ end Kernel panic"),
    ("KASAN", r"BUG: KASAN:", r"^={20,}"),
    ("KFENCE", r"BUG: KFENCE:", r"^={20,}"),
    ("UBSAN", r"UBSAN:", r"---\[ end "),
    ("BUG", r"kernel BUG at|\bBUG: ", _END),
    ("oops", r"\bOops: |^general protection fault", _END),
    ("WARN", r"\bWARNING: ", _END),
    ("hung task", r"INFO: task .* blocked for more than", r"</TASK>"),
    ("stall", r"INFO: rcu_\w+ (self-)?detected|rcu_\w+ kthread starved|soft lockup - CPU|hard LOCKUP", r"</TASK>"),
    ("lockdep", r"INFO: (possible|lockdep is turned off|trying to register non-static key)", r"</TASK>"),
    ("leak", r"kmemleak: \d+ new suspected memory leaks|^unreferenced object 0x", None),
    ("DMA fault", r"DMAR: .*\bfault|DMAR: VT-d detected|DMAR: \[(DMA|INTR-REMAP)|AMD-Vi: Event logged", None),
    ("corruption", r"refcount_t: |list_(add|del) corruption|Bad page (state|map)|usercopy: Kernel memory", _END),
    ("bad module", r"module verification failed: .*rejected|disagrees about version of symbol", None),
]
_RULES = [(kind, re.compile(start), re.compile(end) if end else None) for kind, start, end in RULES]
# dmar.c:dmar_fault() says that there are faults, each of which then has a line of its own; other processors' lines can
# come between. In the status bit 0 is that there were more than it has room for, bit 1 that there are some, bits 8 to 15
# which is the first. Of more than three faults in five seconds it leaves lines out, and then they are judged: who expects
# faults has them come slowly.
_ANNOUNCES = re.compile(r"DMAR: DRHD: handling fault status reg ([0-9a-f]+)")
_FAULT = re.compile(r"DMAR: \[(DMA|INTR-REMAP)")
_SOON = 8               # lines
_STAMP = re.compile(r"^(<\d+>)?\[\s*\d+\.\d+\](\[[^\]]*\])? ?")
MAX_LINES = 80
CONTEXT_BEFORE = 3


@dataclass
class Trouble:
    """One complaint of the kernel, from its first line to its last."""

    kind: str
    before: list = field(default_factory=list)
    lines: list = field(default_factory=list)

    def matches(self, patterns):
        """True when some line of the complaint is one that was expected."""
        return any(p.search(line) for p in patterns for line in self.lines)

    def text(self):
        return "\n".join(["    " + line for line in self.before] +
                         ["  > " + line for line in self.lines])


def _announces_only(lines, index):
    """Is this line that there are faults, of which the next lines tell?"""
    match = _ANNOUNCES.search(lines[index])
    if not match or int(match.group(1), 16) & 0xfe != 2:
        return False
    for line in lines[index + 1:index + 1 + _SOON]:
        if _FAULT.search(line):
            return True
        if _ANNOUNCES.search(line):
            return False
    return False


def _kind(line):
    for kind, start, end in _RULES:
        if start.search(line):
            return kind, end
    return None, None


def scan(lines, expected=()):
    """The complaints in a log that none of the expected patterns matches."""
    found, current, end, recent = [], None, None, []
    lines = list(lines)
    for index, raw in enumerate(lines):
        line = raw.rstrip("\r\n")
        bare = _STAMP.sub("", line)
        kind, kind_end = _kind(bare)
        if _announces_only(lines, index):
            kind = None
        if current is not None:
            if end is None and (kind != current.kind or kind == "DMA fault"):
                current = None          # single lines go on while they are of a kind; each fault is one for itself
            elif end is not None and len(current.lines) >= MAX_LINES:
                current = None
        if current is not None:
            current.lines.append(line)
            if end is not None and end.search(bare):
                current = None
        elif kind is not None:
            current = Trouble(kind, recent[-CONTEXT_BEFORE:], [line])
            end = kind_end
            found.append(current)
        recent = (recent + [line])[-CONTEXT_BEFORE:]
    patterns = [re.compile(p) if isinstance(p, str) else p for p in expected]
    return [trouble for trouble in found if not trouble.matches(patterns)]
