//! The few programs that run in a fake node.

/// What a program does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// The code it ends with; `None` when it runs until it is ended.
    pub(super) ends: Option<i32>,
    /// Whether it repeats its standard input and ends with it.
    pub(super) repeats: bool,
}

/// Understands `true`, `false`, `echo …`, `cat [/etc/hosts]`, `sleep …` and `sh -c '…; …'` of these and `exit N`; and what opens
/// a console: a shell, or `vtysh`, that says what it is and repeats what is typed. Any other shell does not start.
pub(super) fn run(argv: &[String], hosts: &str) -> Program {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sh", "-c", script] => {
            let mut all = Program { ends: Some(0), ..Program::default() };
            for command in script.split(';') {
                let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
                if let Some(code) = words.strip_prefix(&["exit".to_owned()]) {
                    all.ends = Some(code.first().and_then(|code| code.parse().ok()).unwrap_or(0));
                    break;
                }
                let one = run(&words, hosts);
                all.stdout += &one.stdout;
                all.stderr += &one.stderr;
                all.ends = one.ends;
                all.repeats |= one.repeats;
                if one.ends.is_none() {
                    break;
                }
            }
            all
        }
        ["/bin/sh", "-c", _, "sh"] => Program { stdout: "sh$ ".into(), repeats: true, ..Program::default() },
        ["/bin/sh", "-c", _, "sh", "vtysh"] => {
            Program { stdout: "vtysh# ".into(), repeats: true, ..Program::default() }
        }
        ["true"] => Program { ends: Some(0), ..Program::default() },
        ["false"] => Program { ends: Some(1), ..Program::default() },
        ["echo", text @ .., ">&2"] => Program { stderr: text.join(" ") + "\n", ends: Some(0), ..Program::default() },
        ["echo", text @ ..] => Program { stdout: text.join(" ") + "\n", ends: Some(0), ..Program::default() },
        ["cat", "/etc/hosts"] => Program { stdout: hosts.to_owned(), ends: Some(0), ..Program::default() },
        ["cat"] => Program { repeats: true, ..Program::default() },
        [] | ["sleep", ..] => Program::default(),
        [other, ..] => Program { stderr: format!("{other}: not found\n"), ends: Some(127), ..Program::default() },
    }
}
