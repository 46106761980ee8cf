//! A shell reads the words that [`shell!`](crate::shell!) quoted as they were.

use proptest::prelude::*;

/// Words with all characters that have a meaning for a shell or a terminal. None has a NUL, which no argument can have.
pub(crate) fn awkward() -> impl Strategy<Value = String> {
    r"(\$\(x\)|`x`|\$HOME|\\n|--|[ -~\n\t\r\x1b\x7f\u{85}\u{202e}\u{2066}\u{e000}é日]){0,8}"
}

/// The texts that a command prints, each followed by a NUL.
pub(crate) fn run(command: &str) -> Vec<String> {
    // Where the locale is not UTF-8, bash writes a character that is given by number as that number.
    let bash = std::process::Command::new("bash").args(["-c", command]).env("LC_ALL", "C.UTF-8").output();
    let output = bash.expect("bash runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("the words were UTF-8");
    let texts = text.strip_suffix('\0').expect("each text ends with a NUL");
    texts.split('\0').map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bash_reads_the_words_that_were_put_in(a in awkward(), b in awkward()) {
        let command = crate::shell!("printf '%s\\0' {} {}", a, b);
        prop_assert_eq!(run(&command), [a, b]);
    }
}
