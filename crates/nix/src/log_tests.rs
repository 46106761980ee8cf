use super::*;
use std::sync::Mutex;

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Observer for Recorder {
    fn observe(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Feeds lines, and returns the events in short and what was remembered.
fn run(lines: &[&str], ok: bool) -> (Vec<String>, Record) {
    let recorder = Recorder::default();
    let mut log = Log::new(&recorder, Record::default());
    lines.iter().for_each(|line| log.hear(line.as_bytes()));
    let record = log.finish(ok);
    let events = recorder.0.into_inner().unwrap();
    let first = events.iter().find_map(|event| match event {
        Event::Started { task, .. } => Some(task.0),
        _ => None,
    });
    (events.iter().map(|event| short(event, first.unwrap_or(0))).collect(), record)
}

fn short(event: &Event, first: u64) -> String {
    let t = |task: &TaskId| task.0 - first;
    match event {
        Event::Started { task, kind, title, .. } => format!("+{} {kind:?} {title}", t(task)),
        Event::Progress { task, done, total } => format!("{} {done}/{}", t(task), total.unwrap_or(0)),
        Event::Phase { task, name } => format!("{} {name}", t(task)),
        Event::Finished { task, ok } => format!("-{} {ok}", t(task)),
        Event::Log { task, line } => {
            format!("{}> {line}", task.map_or("".into(), |task| t(&task).to_string()))
        }
        Event::Message { level, text, .. } => format!("{level:?}: {text}"),
        other => format!("{other:?}"),
    }
}

const DRV: &str = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-dep1.drv";

#[test]
fn a_build_on_another_machine_is_one_task() {
    let start = |id: u32, machine: &str| {
        format!(
            r#"@nix {{"action":"start","id":{id},"level":3,"type":105,"text":"","fields":["{DRV}","{machine}",1,1]}}"#
        )
    };
    let (events, record) = run(
        &[
            &start(1, "ssh-ng://nixoci-builder"),
            &start(2, ""),
            r#"@nix {"action":"result","id":2,"type":104,"fields":["buildPhase"]}"#,
            r#"@nix {"action":"result","id":2,"type":101,"fields":["\u001b[1mbuilt\u001b[0m 1%\r100%"]}"#,
            r#"@nix {"action":"stop","id":2}"#,
            r#"@nix {"action":"stop","id":1}"#,
        ],
        true,
    );
    assert_eq!(events, ["+0 Build dep1 on ssh-ng://nixoci-builder", "0 buildPhase", "0> 100%", "-0 true"]);
    assert_eq!(record.tail(DRV), ["100%"]);
}

#[test]
fn thousands_of_byte_counts_become_a_few_and_the_last_one_counts() {
    let start = r#"@nix {"action":"start","id":5,"level":3,"type":100,"text":"","fields":["/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x","https://cache.example","local"]}"#;
    let steps: Vec<String> = (1..=5000)
        .map(|n| format!(r#"@nix {{"action":"result","id":5,"type":105,"fields":[{n},5000,0,0]}}"#))
        .collect();
    let mut lines = vec![start];
    lines.extend(steps.iter().map(String::as_str));
    lines.push(r#"@nix {"action":"stop","id":5}"#);
    let (events, _) = run(&lines, true);
    assert!(events.len() < 100, "{} events", events.len());
    assert_eq!(events[0], "+0 Copy x from https://cache.example");
    assert_eq!(events[events.len() - 2..], ["0 5000/5000", "-0 true"]);
}

#[test]
fn a_set_of_copies_counts_the_bytes_of_all_its_paths() {
    let copy = |id: u32| {
        format!(
            r#"@nix {{"action":"start","id":{id},"type":100,"fields":["/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x","","local"]}}"#
        )
    };
    let bytes = |id: u32, done: u32| {
        format!(r#"@nix {{"action":"result","id":{id},"type":105,"fields":[{done},100,0,0]}}"#)
    };
    let (events, _) = run(
        &[
            r#"@nix {"action":"start","id":1,"type":103}"#,
            r#"@nix {"action":"result","id":9,"type":106,"fields":[100,200]}"#,
            &copy(2),
            &bytes(2, 100),
            r#"@nix {"action":"stop","id":2}"#,
            &copy(3),
            &bytes(3, 60),
            r#"@nix {"action":"stop","id":3}"#,
            r#"@nix {"action":"stop","id":1}"#,
        ],
        true,
    );
    assert!(events.contains(&"+1 Copy copying store paths".to_owned()), "{events:?}");
    assert_eq!(events[events.len() - 2..], ["1 160/200", "-1 true"], "{events:?}");
}

#[test]
fn a_failed_build_ends_as_failed_also_when_the_error_comes_later() {
    let log = include_str!("../tests/fixtures/2.26/fail.log");
    let (events, record) = run(&log.lines().collect::<Vec<_>>(), false);
    let build = events.iter().find(|event| event.contains("Build t")).unwrap();
    let number = build[1..].split(' ').next().unwrap();
    assert!(events.contains(&format!("-{number} false")), "{events:#?}");
    assert_eq!(record.errors.len(), 1);
    assert!(record.errors[0].contains("failed with exit code 3"));
}

#[test]
fn a_successful_dependency_is_not_blamed() {
    let log = include_str!("../tests/fixtures/2.34/dirty.log");
    let (events, record) = run(&log.lines().collect::<Vec<_>>(), true);
    assert!(record.errors.is_empty());
    assert!(!events.iter().any(|event| event.ends_with("false")), "{events:#?}");
    assert!(events.iter().any(|event| event.starts_with("Info: ") && event.contains("uncommitted")));
}

#[test]
fn a_build_of_nothing_starts_no_set() {
    let (events, _) = run(
        &[
            r#"@nix {"action":"start","id":1,"level":0,"parent":0,"text":"","type":104}"#,
            r#"@nix {"action":"result","fields":[0,0,0,0],"id":1,"type":105}"#,
            r#"@nix {"action":"stop","id":1}"#,
        ],
        true,
    );
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn other_peoples_lines_are_kept_and_cut_json_does_no_harm() {
    let huge = format!(r#"@nix {{"action":"result","id":1,"type":101,"fields":["{}"#, "x".repeat(1000));
    let (events, record) =
        run(&["ssh: connect to host x port 22: Connection refused", "", &huge, "@nix 3"], false);
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(record.plain.front().unwrap(), "ssh: connect to host x port 22: Connection refused");
}

#[test]
fn a_dry_runs_plan_is_no_error() {
    let (events, record) = run(
        &[
            r#"@nix {"action":"msg","level":0,"msg":"this derivation will be built:"}"#,
            &format!(r#"@nix {{"action":"msg","level":0,"msg":"  {DRV}"}}"#),
        ],
        true,
    );
    assert!(events.is_empty() && record.errors.is_empty());
    assert_eq!(record.plan.build[0].as_str(), DRV);
}

proptest::proptest! {
    #[test]
    fn no_line_makes_it_panic(action in "start|stop|result|msg", kind in 95u64..115, text in ".{0,20}", n: u64) {
        let line = format!(
            r#"@nix {{"action":"{action}","id":1,"type":{kind},"level":0,"fields":[{n},{},{n},{n}],"msg":{}}}"#,
            serde_json::json!(text), serde_json::json!(text)
        );
        run(&[&line, &line, r#"@nix {"action":"stop","id":1}"#, r#"@nix {"action":"stop","id":1}"#], true);
    }
}
