use super::*;

fn values(texts: &[(&'static str, &str)], commands: &[(&'static str, &str)]) -> Values {
    let captures = |pairs: &[(&'static str, &str)]| {
        pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect::<Captures>()
    };
    Values { texts: captures(texts), commands: captures(commands) }
}

fn filled(help: Help, values: &Values) -> Remedy {
    help.remedy(values, |how, value| format!("{how} of {value}"))
}

fn command(template: &'static str, values: &Values) -> String {
    filled(Help::Command("", template), values).command.unwrap()
}

#[test]
fn a_word_is_quoted_with_what_is_around_the_name() {
    let values = values(&[("file", "a b"), ("name", "web")], &[]);
    assert_eq!(command("nixoci build ./{file}#{name} -t {name}", &values), "nixoci build './a b#web' -t web");
    assert_eq!(command("rm -- {file|end}{gone}", &values), "rm -- 'end of a b'");
    assert_eq!(command("x {gone}", &values), "x ''");
}

#[test]
fn what_the_template_itself_quotes_stays() {
    let values = values(&[("file", "a b")], &[("on", "ssh 'my box' ")]);
    let template = "tar c x | {on}sh -c 'cd $(mktemp -d) && tar x' \"$USER\" {file}";
    assert_eq!(
        command(template, &values),
        "tar c x | ssh 'my box' sh -c 'cd $(mktemp -d) && tar x' \"$USER\" 'a b'"
    );
}

#[test]
fn a_part_of_a_command_is_put_in_as_it_is() {
    let on = values(&[("user", "USER")], &[("on", "ssh box "), ("user", "$USER")]);
    assert_eq!(command("{on}sudo usermod -aG x {user}", &on), "ssh box sudo usermod -aG x $USER");
    let here = values(&[("user", "ann lee")], &[("on", "")]);
    assert_eq!(command("{on}sudo usermod -aG x {user}", &here), "sudo usermod -aG x 'ann lee'");
    let remedy = filled(Help::Lines("for {user}", "allowed-users = root {user}"), &on);
    assert_eq!(remedy, Remedy::lines("for USER", "allowed-users = root USER"));
}

#[test]
fn sentences_and_lines_are_not_for_a_shell() {
    let values = values(&[("line", "it's x; $y")], &[]);
    assert_eq!(filled(Help::Advice("see {line}"), &values), Remedy::advice("see it's x; $y"));
    assert_eq!(filled(Help::Lines("a", "b = {line}"), &values), Remedy::lines("a", "b = it's x; $y"));
}

/// With the bash that [`shell_tests`](crate::runner::shell_tests) needs: the one of macOS, 3.2, does not know `\u202e`.
#[cfg(target_os = "linux")]
mod in_bash {
    use super::*;
    use crate::runner::shell_tests::{awkward, run};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_filled_command_has_the_words_that_were_put_in(a in awkward(), b in awkward()) {
            let values = values(&[("a", a.as_str()), ("b", b.as_str())], &[("on", "command ")]);
            let command = command("{on}printf '%s\\0' {a} x{b}y{a} z", &values);
            prop_assert_eq!(run(&command), [a.clone(), format!("x{b}y{a}"), "z".to_owned()]);
        }
    }
}
