//! The typed driver against the lab's Multipass, in both versions, for root and for an ordinary user.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use nixoci_backend_multipass::driver::{Launch, Multipass, State};
use nixoci_backend_multipass::error;
use nixoci_core::runner::{Command, Exit, Runner, output, output_with_input};
use nixoci_nix::HostRunner;
use nixoci_nix::guest::GuestRunner;
use nixoci_testkit::{World, lab};

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_virtual_machine_comes_works_and_goes() {
    if lab::is_inside() {
        return life();
    }
    for version in ["multipass", "multipass-1.17"] {
        let flags = ["--as", "mac", "--without", "nix", "--with", version];
        assert_eq!(lab::on_every_host(&flags, "a_virtual_machine_comes_works_and_goes"), Ok(()), "{version}");
    }
}

fn world() -> World {
    World::new("aarch64-darwin", Box::new(HostRunner::default())).unwrap()
}

fn launch() -> Launch {
    Launch {
        image: "24.04".to_owned(),
        cpus: 1,
        memory: "512M".to_owned(),
        disk: "5G".to_owned(),
        timeout: 120,
        cloud_init: "write_files:\n  - path: /etc/nixoci/vm.json\n    content: '{\"owner\":\"nixoci\"}'\n"
            .to_owned(),
    }
}

#[tokio::main]
async fn life() {
    let world = world();
    let cx = world.cx();
    let name = format!("driver-{}-{}", std::process::id(), std::process::id() % 7919);
    let multipass = Multipass::find(&cx).await.unwrap();
    multipass.check(&cx).await.unwrap();
    assert_eq!(multipass.state(&cx, &name).await.unwrap(), None);
    assert!(multipass.start(&cx, &name).await.unwrap_err().is(&error::ABSENT));
    assert!(multipass.info(&cx, &name).await.unwrap_err().is(&error::ABSENT));
    let odd = Launch { memory: "10M".to_owned(), ..launch() };
    assert!(multipass.launch(&cx, &name, &odd).await.unwrap_err().is(&error::BAD_SIZE));
    assert!(multipass.launch(&cx, "a_b", &launch()).await.unwrap_err().is(&error::BAD_NAME));

    multipass.launch(&cx, &name, &launch()).await.unwrap();
    let info = multipass.info(&cx, &name).await.unwrap();
    assert_eq!(info.state, Some(State::Running));
    assert!(info.memory.unwrap().1 > 0 && info.disk.unwrap().1 > 0 && !info.ipv4.is_empty(), "{info:?}");
    guest(&multipass, &name).await;

    multipass.stop(&cx, &name, false).await.unwrap();
    assert_eq!(multipass.state(&cx, &name).await.unwrap(), Some(State::Stopped));
    let info = multipass.info(&cx, &name).await.unwrap();
    assert_eq!((info.cpus, info.memory), (None, None));
    multipass.set(&cx, &name, "disk", "6G").await.unwrap();
    assert!(multipass.set(&cx, &name, "disk", "5G").await.unwrap_err().is(&error::BAD_SIZE));
    multipass.start(&cx, &name).await.unwrap();
    assert_eq!(multipass.state(&cx, &name).await.unwrap(), Some(State::Running));
    multipass.delete(&cx, &name).await.unwrap();
    assert_eq!(multipass.state(&cx, &name).await.unwrap(), None);
}

/// Commands in the guest: exit codes, also the one that makes old clients loop, words, input, and the end.
async fn guest(multipass: &Multipass, name: &str) {
    let world = world();
    let cx = world.cx();
    let guest = GuestRunner::new(cx.runner, multipass.door(name));
    let sh = |script: &str| Command::new("sh").args(["-c", script]);
    for code in [0, 2, 4, 7, 255] {
        let answer =
            output(&guest, &sh(&format!("echo out; echo err >&2; exit {code}")), cx.cancel).await.unwrap();
        assert_eq!(answer.exit, Exit::Code(code));
        assert_eq!((answer.stdout_text().as_str(), answer.stderr_text().trim_end()), ("out\n", "err"));
    }
    let words = ["a b", "it's", "$HOME", "A=b", "line\nline", "", "*"];
    let answer = output(&guest, &Command::new("printf").arg("<%s>").args(words), cx.cancel).await.unwrap();
    assert_eq!(answer.stdout_text(), words.map(|word| format!("<{word}>")).concat());
    let input: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    let answer =
        output_with_input(&guest, &Command::new("cat").with_stdin(), &input, cx.cancel).await.unwrap();
    assert!(answer.stdout == input, "{} bytes came back", answer.stdout.len());
    let answer = output(&guest, &sh("cat /etc/nixoci/vm.json; id -un"), cx.cancel).await.unwrap();
    assert!(answer.stdout_text().contains("nixoci") && answer.stdout_text().contains("ubuntu"), "{answer:?}");

    // What is stopped, and what a killed nixoci leaves behind, ends in the guest.
    for stopped in [true, false] {
        let mut process = guest.spawn(&sh("sleep 77.7; true")).await.unwrap();
        let running = async || {
            let answer = output(&guest, &sh("pgrep -xf 'sleep 77.7' || true"), cx.cancel).await.unwrap();
            !answer.stdout.is_empty()
        };
        while !running().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if stopped {
            process.stop(Duration::from_secs(5)).await.unwrap();
        }
        drop(process);
        for _ in 0..100 {
            if !running().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(!running().await, "a command runs on (stopped: {stopped})");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn why_the_daemon_does_not_serve_a_user_has_its_own_code() {
    if lab::is_inside() {
        return refused();
    }
    for (flags, code) in [
        (&["--without", "multipass-daemon"][..], "nixoci::multipass::daemon_down"),
        (&["--with", "multipass-denied"], "nixoci::multipass::socket_denied"),
        (&["--with", "multipass-unauthenticated"], "nixoci::multipass::unauthenticated"),
    ] {
        let code = format!("NIXOCI_EXPECTED={code}");
        let all = [&["--as", "mac", "--with", "multipass", "--env", &code][..], flags].concat();
        let name = "why_the_daemon_does_not_serve_a_user_has_its_own_code";
        assert_eq!(lab::on_every_host(&all, name), Ok(()), "{flags:?}");
    }
}

#[tokio::main]
async fn refused() {
    let world = world();
    let found = Multipass::find(&world.cx()).await.unwrap().check(&world.cx()).await;
    let expected = std::env::var("NIXOCI_EXPECTED").unwrap();
    if expected.ends_with("denied") && std::env::var("USER").is_ok_and(|user| user == "root") {
        // No socket is closed to root.
        return assert!(found.is_ok());
    }
    let error = found.unwrap_err();
    assert_eq!(error.code(), expected);
    assert!(!error.report().remedies.is_empty());
}
