use super::*;
use proptest::prelude::*;

const LAYER: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn config(rest: &str) -> String {
    let rootfs = format!(r#""rootfs":{{"type":"layers","diff_ids":["{LAYER}"]}}"#);
    format!(r#"{{"architecture":"amd64","os":"linux",{rootfs}{rest}}}"#)
}

#[test]
fn a_command_given_as_a_string_is_mended_and_nothing_else_changes() {
    let text = config(
        ",\n \"config\": { \"X\" : 1.0,  \"Cmd\" :\"a\\u0062\" , \"Entrypoint\":\"\\\"e\" }, \"Cmd\":\"no\"",
    );
    let parsed = ImageConfig::parse(&text, Given::default()).unwrap();
    assert_eq!(parsed.cmd, ["ab"]);
    assert_eq!(parsed.entrypoint, ["\"e"]);
    let expected = text.replace(r#""a\u0062""#, r#"["a\u0062"]"#).replace(r#""\"e""#, r#"["\"e"]"#);
    assert_eq!(parsed.written.unwrap(), expected);
    assert_eq!(parsed.warnings.len(), 2);
}

#[test]
fn a_proper_configuration_is_left_alone() {
    let text = config(
        r#","config":{"Cmd":["a"],"Entrypoint":null,"Env":["A=b"],"User":"","preferLocalBuild":true}"#,
    );
    let parsed = ImageConfig::parse(&text, Given::default()).unwrap();
    assert!(parsed.written.is_none() && parsed.warnings.is_empty());
    assert_eq!(parsed.argv(), ["a"]);
    assert_eq!(parsed.user, None);
}

#[test]
fn the_history_names_store_paths() {
    let history = r#","history":[{"comment":"store paths: ['/nix/store/a-x', '/nix/store/b-y']"},
        {"empty_layer":true}]"#;
    let parsed = ImageConfig::parse(&config(history), Given::default()).unwrap();
    assert_eq!(parsed.store_paths, [["/nix/store/a-x", "/nix/store/b-y"]]);
    let odd = ImageConfig::parse(&config(r#","history":[{},{}]"#), Given::default()).unwrap();
    assert_eq!(odd.store_paths, [[""; 0]]);
}

#[test]
fn only_linux_on_a_known_cpu_is_taken() {
    let with = |os: &str, cpu: &str| {
        config("").replace("\"linux\"", &format!("{os:?}")).replace("\"amd64\"", &format!("{cpu:?}"))
    };
    assert!(
        ImageConfig::parse(&with("darwin", "arm64"), Given::default())
            .err()
            .unwrap()
            .is(&codes::BAD_PLATFORM)
    );
    assert!(
        ImageConfig::parse(&with("linux", "pdp11"), Given::default()).err().unwrap().is(&codes::BAD_PLATFORM)
    );
    let alias = ImageConfig::parse(&with("linux", "aarch64"), Given::default()).unwrap();
    assert_eq!(alias.platform.to_string(), "linux/arm64");
    assert_eq!(alias.warnings[0].code, codes::ARCHITECTURE_ALIAS.id);
}

proptest! {
    #[test]
    fn arbitrary_configurations_never_panic(text in ".{0,200}", at in 0usize..200, byte: u8) {
        let _ = ImageConfig::parse(&text, Given::default());
        let mut bytes = config(r#","config":{"Cmd":"x"},"history":[{"comment":"store paths: ['/a']"}]"#).into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = ImageConfig::parse(text, Given { created: Some("1970-01-01T00:00:01Z"), platform: None });
        }
    }
}

#[test]
fn an_image_without_a_platform_is_what_the_user_says() {
    let arm: OciPlatform = "linux/arm/v6".parse().unwrap();
    for (os, architecture) in [("\"\"", "\"amd64\""), ("null", "null"), ("\"linux\"", "\"\"")] {
        let text = config("").replace("\"linux\"", os).replace("\"amd64\"", architecture);
        let error = ImageConfig::parse(&text, Given::default()).err().unwrap();
        assert!(error.is(&codes::BAD_PLATFORM), "{error}");
        assert!(error.to_string().starts_with("the image's configuration names n"), "{error}");
        let read = ImageConfig::parse(&text, Given { created: None, platform: Some(&arm) }).unwrap();
        assert_eq!(read.platform, arm);
        assert_eq!(read.warnings.len(), 1);
        // The written configuration names it, and is read again without a warning.
        let written = read.written.unwrap();
        let again = ImageConfig::parse(&written, Given::default()).unwrap();
        assert_eq!((again.platform, again.written), (arm.clone(), None), "{written}");
    }
}

#[test]
fn every_architecture_of_go_is_read() {
    for (cpu, platform) in
        [("loong64", "linux/loong64"), ("mips64le", "linux/mips64le"), ("ppc64", "linux/ppc64")]
    {
        let text = config("").replace("\"amd64\"", &format!("{cpu:?}"));
        assert_eq!(ImageConfig::parse(&text, Given::default()).unwrap().platform.to_string(), platform);
    }
}
