//! What crosses the ABI looks as it always did: the golden lines of version 1 are read, and today's are the same, with more in them at most.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;

use nixoci_core::artifact::{Artifact, ArtifactId, PathInfo, Role, StorePath};
use nixoci_core::backend::{
    BuilderId, Check, CheckVerdict, Depth, Descriptor, Forecast, How, Offer, Readiness, Release, Verdict,
};
use nixoci_core::event::{Event, Level, TaskId, TaskKind};
use nixoci_core::plan::{Configuration, ProvisionPlan, Step, StepState};
use nixoci_core::request::{Attribute, BuildRequest, Installable, NixArg, NixFlags};
use nixoci_core::{Error, Remedy};
use nixoci_plugin::wire::{Amended, Description, Foreseen, Hello, Planned, Request, ShellCommand};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Set by whoever adds a line for something new: the files are written. What is there is never changed.
const WRITE: &str = "NIXOCI_CODEGEN_GOLDEN";

nixoci_core::codes! {
    /// A sample.
    SAMPLE = ("test::sample", Provision, "a sample", "There is nothing to do.");
}

fn path(name: &str) -> StorePath {
    format!("/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-{name}").parse().unwrap()
}

fn error() -> Error {
    Error::new(&SAMPLE, "it fails")
        .because("a cause")
        .remedy(Remedy::command("do this", "this"))
        .log(["line"])
}

fn plan() -> ProvisionPlan {
    let step = |id: &str, state| Step {
        id: id.to_owned(),
        title: "start it".to_owned(),
        why: "builds".to_owned(),
        state,
        effects: vec!["a VM runs".to_owned()],
        needs_root: true,
        commands: vec!["sudo start".to_owned()],
    };
    let unknown = StepState::Unknown { would_need: "the VM".to_owned() };
    let steps = vec![
        step("a", StepState::Satisfied),
        step("b", StepState::Pending),
        step("c", unknown),
        step("d", StepState::Blocked { error: error() }),
    ];
    ProvisionPlan { steps, instead: vec![Remedy::advice("another way")] }
}

fn request(installable: Installable) -> BuildRequest {
    let flags = NixFlags {
        impure: true,
        override_inputs: vec![("a".to_owned(), "b".to_owned())],
        max_jobs: Some("auto".to_owned()),
        cores: Some(2),
        options: vec![("x".to_owned(), "y".to_owned())],
        ..NixFlags::default()
    };
    let prefer = vec!["stream.conf".to_owned()];
    BuildRequest { installable, system: "x86_64-linux".parse().unwrap(), prefer, flags }
}

fn info() -> PathInfo {
    PathInfo {
        path: path("x"),
        nar_hash: nixoci_testkit::hash_of(b"x"),
        nar_size: 7,
        references: vec![path("y")],
        deriver: Some(path("x.drv")),
        local: Some("/nix/store/x".into()),
    }
}

fn foreseen() -> Foreseen {
    let forecast = Forecast {
        drv: Some(path("x.drv")),
        attribute: Some("packages.x86_64-linux.x".to_owned()),
        output: Some(path("x")),
        will_build: vec![path("x.drv")],
        will_fetch: vec![path("y")],
        download_bytes: Some(9),
        cost: Some("little".to_owned()),
        known: Some(info()),
        verdict: Verdict::Go,
    };
    forecast.into()
}

fn requests() -> Vec<Request> {
    let flake = |attribute| Installable::Flake { reference: "path:/x".to_owned(), attribute };
    let args = BTreeMap::from([
        ("e".to_owned(), NixArg::Expr("1".to_owned())),
        ("s".to_owned(), NixArg::Str("t".to_owned())),
    ]);
    let file = Installable::File { path: "/x.nix".into(), attribute: Some("a".to_owned()), args };
    let system = || "aarch64-linux".parse().unwrap();
    let builds = [
        flake(Attribute::Name("container".to_owned())),
        flake(Attribute::Full("packages.x86_64-linux.x".to_owned())),
        file,
        Installable::StorePath { path: path("x") },
    ];
    let builds = builds.map(|what| Request::Build { request: request(what), forecast: foreseen() });
    let rest = [
        Request::Offers { want: Some(system()) },
        Request::Offers { want: None },
        Request::Probe {},
        Request::Plan { want: vec![system()] },
        Request::Provision { plan: plan() },
        Request::Removable {},
        Request::Configuration {},
        Request::Prove { want: vec![system()] },
        Request::Forecast { request: request(flake(Attribute::Name("x".to_owned()))), depth: Depth::Full },
        Request::Amend { error: error() },
        Request::Query { roots: vec![path("x")], closure: true },
        Request::Fetch { paths: vec![path("x")], socket: "/tmp/s".into() },
        Request::Release { how: Release::Artifact { id: ArtifactId("i".to_owned()) } },
        Request::Release { how: Release::Stop },
        Request::Release { how: Release::Remove },
        Request::Shell { system: system(), command: vec!["sh".to_owned()] },
    ];
    rest.into_iter().chain(builds).collect()
}

/// What is answered or told, as JSON, and whether its type reads such a value.
type Said = (&'static str, Value, fn(&Value) -> bool);

/// Everything that is answered or told.
fn answers() -> Vec<Said> {
    fn reads<T: DeserializeOwned>(value: &Value) -> bool {
        serde_json::from_value::<T>(value.clone()).is_ok()
    }
    fn of<T: serde::Serialize>(value: &T) -> Value {
        serde_json::to_value(value).unwrap()
    }
    let offer = |readiness| Offer {
        system: "x86_64-linux".parse().unwrap(),
        how: How::Translated,
        readiness,
        builder: BuilderId("box".to_owned()),
    };
    let offers = vec![
        offer(Readiness::Ready),
        offer(Readiness::Asleep),
        offer(Readiness::Startable),
        offer(Readiness::NeedsRoot),
        offer(Readiness::No { error: error() }),
    ];
    let check = Check {
        title: "Nix".to_owned(),
        detail: "2.34".to_owned(),
        verdict: CheckVerdict::Warning,
        remedies: vec![Remedy::advice("x")],
    };
    let artifact = Artifact {
        path: path("x"),
        role: Role::StreamConf,
        system: "x86_64-linux".parse().unwrap(),
        drv: Some(path("x.drv")),
        attribute: Some("a".to_owned()),
        id: ArtifactId("i".to_owned()),
    };
    let configuration = Configuration {
        option: "nix.linux-builder".to_owned(),
        misspelt: vec!["x".to_owned()],
        text: "t".to_owned(),
        later: Some("l".to_owned()),
        apply: "a".to_owned(),
    };
    let planned = || Planned::new(plan(), |step| step.id != "b");
    let shell = ShellCommand {
        program: "ssh".to_owned(),
        args: vec!["box".to_owned()],
        env: BTreeMap::from([("A".to_owned(), Some("b".to_owned())), ("C".to_owned(), None)]),
        cwd: Some("/x".into()),
    };
    let world = nixoci_testkit::World::without_processes("aarch64-darwin").unwrap();
    let mut host = world.host.clone();
    host.home = Some("/home/u".into());
    let dirs = nixoci_core::host::Dirs { cache: "/c".into(), config: "/o".into(), state: "/s".into() };
    let hello = Hello {
        nixoci: "0.1.0".to_owned(),
        features: Vec::new(),
        settings: json!({ "host": "box" }),
        host,
        dirs,
        credentials: nixoci_core::credentials::NONE.clone(),
        stall_timeout: 60,
        watchdog: vec!["nixoci".to_owned(), "__watchdog".to_owned()],
    };
    let description = Description {
        descriptor: Descriptor {
            name: "x".into(),
            aliases: Vec::new().into(),
            summary: "s".into(),
            concurrent_builds: true,
            automatic: false,
            hosts: vec!["linux".into()].into(),
            credentials: false,
        },
        version: "1.2.3".to_owned(),
        sdk: "nixoci-plugin 0.1.0".to_owned(),
        schema: json!({ "type": "object", "additionalProperties": false }),
        codes: vec![(&SAMPLE).into()],
        features: Vec::new(),
    };
    let task = TaskId(7);
    let started = Event::Started {
        task,
        parent: Some(TaskId(6)),
        kind: TaskKind::Copy,
        title: "x".to_owned(),
        total: Some(9),
    };
    let message =
        Event::Message { level: Level::Info, text: "t".to_owned(), remedies: vec![Remedy::advice("x")] };
    let events = vec![
        started,
        Event::Progress { task, done: 1, total: Some(2) },
        Event::Phase { task, name: "buildPhase".to_owned() },
        Event::Log { task: Some(task), line: "l".to_owned() },
        Event::Finished { task, ok: true },
        message,
    ];
    vec![
        ("hello", of(&hello), reads::<Hello>),
        ("description", of(&description), reads::<Description>),
        ("offers", of(&offers), reads::<Vec<Offer>>),
        ("probe", of(&vec![check]), reads::<Vec<Check>>),
        ("plan", of(&planned()), reads::<Planned>),
        ("removable", of(&vec!["it"]), reads::<Vec<String>>),
        ("configuration", of(&Some(configuration)), reads::<Option<Configuration>>),
        ("forecast", of(&foreseen()), reads::<Foreseen>),
        ("build", of(&artifact), reads::<Artifact>),
        ("amend", of(&Some(Amended { planned: planned(), agreed: true })), reads::<Option<Amended>>),
        ("query", of(&vec![info()]), reads::<Vec<PathInfo>>),
        ("shell", of(&shell), reads::<ShellCommand>),
        ("error", of(&error()), reads::<Error>),
        ("events", of(&events), reads::<Vec<Event>>),
    ]
}

/// Whether `now` says all that `then` said.
fn says(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            then.iter().all(|(key, value)| now.get(key).is_some_and(|now| says(now, value)))
        }
        (Value::Array(now), Value::Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| says(now, then))
        }
        _ => now == then,
    }
}

fn golden(name: &str, now: &[Value]) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/v1").join(name);
    if std::env::var_os(WRITE).is_some() {
        let lines: String = now.iter().map(|value| format!("{value}\n")).collect();
        std::fs::write(&file, lines).unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn requests_of_version_1_are_read_and_said() {
    let now: Vec<Value> = requests().iter().map(|request| serde_json::to_value(request).unwrap()).collect();
    let then = golden("requests.jsonl", &now);
    assert_eq!(now.len(), then.len());
    for (now, then) in now.iter().zip(&then) {
        assert!(says(now, then), "{now}\nsaid {then}");
        serde_json::from_value::<Request>(then.clone()).unwrap();
    }
    // Every method is there, and called as the list says.
    let methods: std::collections::BTreeSet<&str> = requests().iter().map(Request::method).collect();
    assert_eq!(methods, Request::METHODS.iter().copied().collect());
    for request in requests() {
        assert_eq!(serde_json::to_value(&request).unwrap()["method"], request.method());
    }
}

#[test]
fn answers_of_version_1_are_read_and_said() {
    let answers = answers();
    let now: Vec<Value> = answers.iter().map(|(name, value, _)| json!({ *name: value })).collect();
    let then = golden("answers.jsonl", &now);
    assert_eq!(now.len(), then.len());
    for ((now, then), (name, _, reads)) in now.iter().zip(&then).zip(&answers) {
        assert!(says(now, then), "{now}\nsaid {then}");
        assert!(reads(&then[*name]), "{then}");
        // Members that a reader does not know are no mistake.
        let mut more = then[*name].clone();
        if let Some(members) = more.as_object_mut() {
            members.insert("somethingNew".to_owned(), json!(7));
        }
        assert!(reads(&more), "{more}");
    }
}

#[test]
fn words_of_later_versions_become_ones_that_say_less() {
    let read = |json: &str| serde_json::from_str::<Value>(json).unwrap();
    let kind: TaskKind = serde_json::from_value(read("\"something-new\"")).unwrap();
    let verdict: CheckVerdict = serde_json::from_value(read("\"something-new\"")).unwrap();
    let role: Role = serde_json::from_value(read("\"something-new\"")).unwrap();
    let error: nixoci_core::ErrorKind = serde_json::from_value(read("\"something-new\"")).unwrap();
    let forecast: Verdict = serde_json::from_value(read("{\"verdict\":\"something-new\"}")).unwrap();
    assert_eq!((kind, verdict, role), (TaskKind::Other, CheckVerdict::Warning, Role::Output));
    assert_eq!(error, nixoci_core::ErrorKind::Plugin);
    assert!(matches!(forecast, Verdict::Unknown));
}
