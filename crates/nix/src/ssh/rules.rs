//! What ssh says, and what nixoci makes of it. Texts: OpenSSH 8.4 to 10.2 (`ssh.c`, `sshconnect.c`, `sshconnect2.c`,
//! `kex.c`, `readconf.c`).

use nixoci_core::error::Code;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Remedy, pattern, shell};

use super::{SshHost, codes as c};

struct Rule {
    code: &'static Code,
    patterns: &'static [&'static str],
}

/// The first that fits counts: a cause comes before what it leads to.
const RULES: &[Rule] = &[
    Rule {
        code: &c::BAD_CONFIG,
        patterns: &[
            "Bad configuration option",
            "Bad owner or permissions on",
            "terminating, {n} bad configuration options",
        ],
    },
    Rule {
        code: &c::UNRESOLVED,
        patterns: &[
            "Could not resolve hostname",
            "Name or service not known",
            "nodename nor servname provided",
        ],
    },
    Rule { code: &c::HOST_KEY_CHANGED, patterns: &["REMOTE HOST IDENTIFICATION HAS CHANGED"] },
    Rule {
        code: &c::HOST_KEY_UNKNOWN,
        patterns: &["No {kind} host key is known for", "Host key verification failed"],
    },
    Rule { code: &c::KEY_UNREADABLE, patterns: &["Load key '{file}': Permission denied"] },
    Rule {
        code: &c::KEY_REFUSED,
        patterns: &["Permission denied (", "Too many authentication failures", "no such identity:"],
    },
    Rule {
        code: &c::SILENT,
        patterns: &[
            "Connection timed out during banner exchange",
            "banner exchange: Connection to {where} timed out",
        ],
    },
    Rule {
        code: &c::NOT_SSH,
        patterns: &[
            "banner line contains invalid characters",
            "banner exchange: Connection to {where} invalid format",
            "too many lines before banner",
        ],
    },
    Rule {
        code: &c::CLOSED,
        patterns: &["kex_exchange_identification: ", "Connection closed by", "Connection reset by"],
    },
    Rule { code: &c::REFUSED, patterns: &["Connection refused"] },
    Rule {
        code: &c::UNREACHABLE,
        patterns: &[
            "Connection timed out",
            "Operation timed out",
            "No route to host",
            "Network is unreachable",
            "Host is down",
        ],
    },
];

/// The error for an ssh that ended without a connection.
pub(crate) fn diagnose(host: &SshHost, said: &str) -> Error {
    let code = pattern::first(RULES, |rule| rule.patterns, said).map_or(&c::FAILED, |(rule, _)| rule.code);
    failure(host, code, &last_words(said))
}

/// An error about a machine, in ssh's or in the system's own words.
pub(crate) fn failure(host: &SshHost, code: &'static Code, said: &str) -> Error {
    let error = Error::new(code, format!("{}: {}", host.name, code.title));
    let error = if said.is_empty() { error } else { error.because(said) };
    remedies(host, code).into_iter().fold(error, Error::remedy)
}

fn remedies(host: &SshHost, code: &'static Code) -> Vec<Remedy> {
    let by_hand = host.by_hand();
    let verbose = || by_hand.clone().args(["-v", "true"]).to_string();
    let beside = |program: &str| match host.port {
        Some(port) => Command::new(program).arg("-p").arg(port.to_string()),
        None => Command::new(program),
    };
    match code.id {
        id if id == c::HOST_KEY_UNKNOWN.id => vec![
            Remedy::command("log in once and compare the key", by_hand.to_string()),
            Remedy::command(
                "or pin it as `host-key` in nixoci.toml, once you know that this is the one",
                beside("ssh-keyscan").args(["-t", "ed25519"]).arg(&host.name).to_string(),
            ),
        ],
        id if id == c::HOST_KEY_CHANGED.id && host.host_key.is_some() => vec![Remedy::advice(
            "if the machine was set up anew, and the key it shows is its own: write that where the old one is (`host-key` in \
             nixoci.toml, or field 8 in /etc/nix/machines, in base64)",
        )],
        id if id == c::HOST_KEY_CHANGED.id => vec![Remedy::command(
            "if the machine was set up anew: forget the old key, then log in and compare the new one",
            match host.port {
                Some(port) => shell!("ssh-keygen -R {}", format!("[{}]:{port}", host.name)),
                None => shell!("ssh-keygen -R {}", host.name),
            },
        )],
        id if id == c::KEY_REFUSED.id => vec![
            Remedy::command("see which keys ssh offers", verbose()),
            Remedy::command("put your key there", beside("ssh-copy-id").arg(host.destination()).to_string()),
            Remedy::command("a key with a passphrase: give it to the agent", "ssh-add"),
        ],
        id if id == c::KEY_UNREADABLE.id => {
            let whose =
                |key: &std::path::PathBuf| Remedy::command("see whose it is", shell!("ls -l {}", key));
            host.key.iter().map(whose).collect()
        }
        id if id == c::UNRESOLVED.id => {
            vec![Remedy::command("see what ssh makes of the name", shell!("ssh -G {}", host.name))]
        }
        _ => vec![Remedy::command("see how far ssh gets", verbose())],
    }
}

/// What ssh said last that is no decoration.
pub(super) fn last_words(said: &str) -> String {
    let lines = said.lines().map(crate::lines::log_line);
    let lines: Vec<String> = lines
        .map(|line| line.trim().trim_end_matches('.').to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('@') && !line.starts_with("debug"))
        .collect();
    lines[lines.len().saturating_sub(2)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_leads_to_its_code() {
        let host = SshHost { name: "box".into(), ..SshHost::default() };
        for (said, code) in [
            ("ssh: Could not resolve hostname box: Name or service not known", &c::UNRESOLVED),
            ("ssh: connect to host box port 22: Connection refused", &c::REFUSED),
            ("ssh: connect to host box port 22: Connection timed out", &c::UNREACHABLE),
            ("ssh: connect to host box port 22: No route to host", &c::UNREACHABLE),
            (
                "Connection timed out during banner exchange\nConnection to 127.0.0.1 port 32310 timed out",
                &c::SILENT,
            ),
            (
                "kex_exchange_identification: Connection closed by remote host\nConnection closed by 127.0.0.1 port 32311",
                &c::CLOSED,
            ),
            ("kex_exchange_identification: banner line contains invalid characters", &c::NOT_SSH),
            (
                "@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@\nHost key verification failed.",
                &c::HOST_KEY_CHANGED,
            ),
            (
                "No ED25519 host key is known for box and you have requested strict checking.\nHost key verification failed.",
                &c::HOST_KEY_UNKNOWN,
            ),
            ("builder@127.0.0.1: Permission denied (publickey).", &c::KEY_REFUSED),
            (
                "Load key \"/etc/nix/builder_ed25519\": Permission denied\nbuilder@localhost: Permission denied (publickey).",
                &c::KEY_UNREADABLE,
            ),
            ("/home/a/.ssh/config: line 3: Bad configuration option: hostnam", &c::BAD_CONFIG),
            ("something new", &c::FAILED),
            ("", &c::FAILED),
        ] {
            let error = diagnose(&host, said);
            assert!(error.is(code), "{said}: {}", error.code());
            assert!(error.to_string().starts_with("box: "));
        }
    }

    #[test]
    fn what_is_to_be_typed_is_quoted() {
        let host = SshHost {
            name: "my box".into(),
            port: Some(2222),
            key: Some("/k/a b".into()),
            ..SshHost::default()
        };
        let commands = |code| {
            let error = failure(&host, code, "");
            let remedies = &error.report().remedies;
            remedies.iter().filter_map(|remedy| remedy.command.clone()).collect::<Vec<_>>()
        };
        assert_eq!(commands(&c::SILENT), ["ssh -p 2222 -i '/k/a b' 'my box' -v true"]);
        assert_eq!(commands(&c::HOST_KEY_CHANGED), ["ssh-keygen -R '[my box]:2222'"]);
        assert_eq!(commands(&c::HOST_KEY_UNKNOWN)[1], "ssh-keyscan -p 2222 -t ed25519 'my box'");
        assert_eq!(commands(&c::KEY_REFUSED)[1], "ssh-copy-id -p 2222 'my box'");
        assert_eq!(commands(&c::KEY_UNREADABLE), ["ls -l '/k/a b'"]);
    }

    #[test]
    fn ssh_s_words_are_kept_and_its_pictures_are_not() {
        let said = "debug1: x\n@@@@@@\r\n@ WARNING @\nHost key for box has changed and you have requested strict checking.\r\nHost key verification failed.\r\n";
        assert_eq!(
            last_words(said),
            "Host key for box has changed and you have requested strict checking; Host key verification failed"
        );
    }
}
