"""DW_AT_language of the languages that have rules of their own (DWARF 5, 7.12, and the list of codes on dwarfstd.org)."""

from __future__ import annotations

LANGUAGES = {
    0x0013: "d",
    0x0016: "go",
    0x0018: "haskell",
    0x001B: "ocaml",
    0x001C: "rust",
    0x001E: "swift",
    0x001F: "julia",
    0x0026: "kotlin",
    0x0027: "zig",
    0x0028: "crystal",
    0x0031: "assembler",  # DW_LANG_Assembly
    0x8001: "assembler",  # DW_LANG_Mips_Assembler: what assemblers of all machines write
}
