//! What is in an object file: its functions as code without addresses, its data, and the layout of every structure it
//! knows. Two objects with the same facts do the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use crate::{process, toolchain::Toolchain};

/// The compiler's flags with which facts are comparable: whatever is referred to has a section, and so a name, of its own.
pub const FLAGS: &str = "KCFLAGS=-ffunction-sections -fdata-sections";

/// The facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Each function's code.
    pub functions: BTreeMap<String, String>,
    /// Each structure's members with their offsets and sizes, in bytes.
    pub layouts: BTreeMap<String, String>,
    /// The names of variables and constants.
    pub data: BTreeSet<String>,
}

/// Reads the object file `object`, which was compiled with [`FLAGS`] and debug information, by the tools of LLVM and pahole.
///
/// # Errors
///
/// When a tool cannot be run.
pub fn facts(object: &Path, toolchain: &Toolchain, verbose: bool) -> Result<Facts> {
    let run = |name: &str, args: &[&str]| {
        let program = toolchain.program(name).unwrap_or_else(|| name.into());
        let sh = Shell::new()?;
        process::read(&cmd!(sh, "{program} {args...} {object}").into(), verbose)
    };
    let tool = |name: &str, args: &[&str]| run(&format!("{name}{}", toolchain.llvm.suffix), args);
    let code = tool("llvm-objdump", &["-dr", "--no-show-raw-insn", "--no-leading-addr", "--symbolize-operands"])?;
    let texts = tool("llvm-readelf", &["--string-dump=.rodata.str1.1"])?;
    let symbols = tool("llvm-nm", &["--defined-only"])?;
    let layouts = run("pahole", &[])?;
    Ok(Facts { functions: functions(&code, &strings(&texts)), layouts: structures(&layouts), data: data(&symbols) })
}

/// The strings of a section by their offsets, from lines such as `[    1f] loop%d`.
fn strings(dump: &str) -> BTreeMap<i64, String> {
    let line = |line: &str| {
        let (offset, text) = line.strip_prefix('[')?.split_once("] ")?;
        Some((i64::from_str_radix(offset.trim(), 16).ok()?, text.to_owned()))
    };
    dump.lines().filter_map(line).collect()
}

fn functions(disassembly: &str, strings: &BTreeMap<i64, String>) -> BTreeMap<String, String> {
    let mut functions = BTreeMap::new();
    let mut name = None;
    let mut code: Vec<String> = Vec::new();
    let mut finish = |name: Option<String>, code: &mut Vec<String>| {
        // What stands behind the last instruction only aligns the next function.
        while code.last().is_some_and(|line| line.starts_with("nop") || line.starts_with("int3")) {
            code.pop();
        }
        if let Some(name) = name {
            functions.insert(name, code.join("\n"));
        }
        code.clear();
    };
    for line in disassembly.lines() {
        if let Some(label) = line.strip_prefix('<').and_then(|line| line.strip_suffix(">:")) {
            if is_local(label) {
                code.push(format!("{label}:"));
            } else {
                finish(name.take(), &mut code);
                name = Some(label.to_owned());
            }
        } else if line.starts_with("Disassembly of section") {
            finish(name.take(), &mut code);
        } else if let Some((kind, target)) = relocation(line) {
            // What the instruction itself refers to is a placeholder for this.
            if let Some(instruction) = code.last_mut() {
                if let Some(at) = instruction.find('<') {
                    instruction.truncate(at);
                }
                *instruction = format!("{} {}", instruction.trim_end(), resolve(kind, target, strings));
            }
        } else if !line.trim().is_empty() && name.is_some() {
            code.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    finish(name, &mut code);
    functions
}

/// Whether objdump made the label up for a place in a function: `L12`.
fn is_local(label: &str) -> bool {
    label.strip_prefix('L').is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Kind and target of a line such as `R_X86_64_PC32 .bss.max_loop-0x4`.
fn relocation(line: &str) -> Option<(&str, &str)> {
    line.trim_start().strip_prefix("R_X86_64_")?.split_once(char::is_whitespace).map(|(k, target)| (k, target.trim()))
}

/// What is referred to. Where something stands in a section that it shares with others does not count.
fn resolve(kind: &str, target: &str, strings: &BTreeMap<i64, String>) -> String {
    let (place, offset) = split(target);
    if place.starts_with(".rodata.str") {
        // Relative to the end of the field, which is four bytes long.
        let offset = if matches!(kind, "PC32" | "PLT32") { offset + 4 } else { offset };
        let start = strings.range(..=offset).next_back();
        return match start {
            Some((start, text)) => format!("{:?}", text.get((offset - start) as usize..).unwrap_or(text)),
            None => place.to_owned(),
        };
    }
    let shared = [".data..once", ".init.", ".exit.", "__", ".discard", ".altinstr"];
    if shared.iter().any(|start| place.starts_with(start)) { place.to_owned() } else { target.to_owned() }
}

/// `.bss+0x28` as name and number.
fn split(target: &str) -> (&str, i64) {
    let at = target.rfind(['+', '-']).filter(|at| target[at + 1..].starts_with("0x"));
    let Some(at) = at else { return (target, 0) };
    let number = i64::from_str_radix(&target[at + 3..], 16).unwrap_or_default();
    (&target[..at], if target[at..].starts_with('-') { -number } else { number })
}

/// The structures in what pahole prints.
fn structures(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("struct ").and_then(|rest| rest.strip_suffix(" {")) else { continue };
        let body: Vec<String> = lines
            .by_ref()
            .take_while(|line| !line.starts_with('}'))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        found.insert(name.to_owned(), body.join("\n"));
    }
    found
}

/// The names of what is no code, from nm's lines.
fn data(symbols: &str) -> BTreeSet<String> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().rev();
        let (name, kind) = (words.next()?, words.next()?);
        let made_up = name.starts_with('.') || name.starts_with("__UNIQUE_ID") || name.starts_with("__initcall");
        // A variable of a function has a number behind its name where there are several.
        (!made_up && matches!(kind, "b" | "B" | "d" | "D" | "r" | "R")).then(|| name.to_owned())
    };
    symbols.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "\nloop.o:\tfile format elf64-x86-64\n\nDisassembly of section .text.loop_remove:\n\n\
        <loop_remove>:\n               \tpushq\t%rbx\n               \tcallq\t <L0>\n\
        \t\tR_X86_64_PLT32\tdel_gendisk-0x4\n<L0>:\n               \tmovq\t$0x0, %rdi\n\
        \t\tR_X86_64_32S\t.rodata.str1.1+0x7\n               \tjne\t <L0>\n               \tretq\n               \tnopl\t(%rax)\n\n\
        Disassembly of section .text.b:\n\n<b>:\n               \tmovb\t$0x1,  <b+0x18>\n\
        \t\tR_X86_64_PC32\t.bss.once-0x5\n               \tmovb\t$0x1,  <b+0x22>\n\t\tR_X86_64_PC32\t.data..once-0x5\n";

    #[test]
    fn code_is_told_without_addresses_and_with_the_strings_it_names() {
        let found =
            functions(CODE, &strings("String dump of section '.rodata.str1.1':\n[     0] other\n[     7] loop%d\n"));
        assert_eq!(
            found["loop_remove"],
            "pushq %rbx\ncallq del_gendisk-0x4\nL0:\nmovq $0x0, %rdi \"loop%d\"\njne <L0>\nretq"
        );
        assert_eq!(found["b"], "movb $0x1, .bss.once-0x5\nmovb $0x1, .data..once");
    }

    #[test]
    fn a_string_in_another_place_is_the_same_code() {
        let moved = CODE.replace("str1.1+0x7", "str1.1+0x20");
        let before = functions(CODE, &strings("[     7] loop%d\n"));
        assert_eq!(functions(&moved, &strings("[    20] loop%d\n")), before);
        assert_ne!(functions(&moved, &strings("[    20] other\n")), before);
    }

    #[test]
    fn the_tail_of_a_longer_string_is_that_tail() {
        let strings = strings("[     4] loop%d\n");
        assert_eq!(resolve("32S", ".rodata.str1.1+0x8", &strings), "\"%d\"");
        assert_eq!(resolve("PC32", ".rodata.str1.1", &strings), "\"loop%d\"");
        assert_eq!(resolve("PC32", ".bss.max_loop-0x4", &strings), ".bss.max_loop-0x4");
    }

    #[test]
    fn structures_are_told_apart_by_members_offsets_and_sizes() {
        let text = "struct a {\n\tint        b;    /*     0     4 */\n\n\t/* size: 4, cachelines: 1 */\n};\n\nstruct c {\n};\n";
        let found = structures(text);
        assert_eq!(found["a"], "int b; /* 0 4 */\n\n/* size: 4, cachelines: 1 */");
        assert_eq!(found["c"], "");
    }

    #[test]
    fn data_is_what_is_no_code_and_has_a_name_of_its_own() {
        let symbols = "0000000000000000 d loop_misc\n0000000000000000 t loop_add\n0000 r __UNIQUE_ID_alias345\n         U memcpy\n";
        assert_eq!(data(symbols), BTreeSet::from(["loop_misc".to_owned()]));
    }
}
