//! What is printed as JSON about builds has the form that is documented.

use serde_json::Value;

use super::*;
use crate::conforms::conforms;

each!(builds_plans_and_loads_have_the_form_that_is_documented: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn builds_plans_and_loads_have_the_form_that_is_documented(host: Host) {
    let run = host.sh(
        "cd $(mktemp -d) && cp -r $OLDPWD/examples/cowsay . && name=$tag && f='--format json'
         json() { \"$@\" 2>/dev/null >doc; cat doc | tr -d '\\n'; echo; }
         json nixoci plan ./cowsay#container $f
         json nixoci build ./cowsay#container -t $name -o archive:a.tar -o docker-archive:d.tar --load $f
         json nixoci load a.tar $f; json nixoci inspect a.tar $f; json nixoci validate a.tar $f
         json nixoci backends $f; json nixoci doctor $f; json nixoci cache show $f; docker rmi -f $name >/dev/null",
    );
    let documents: Vec<&str> = run.out.lines().collect();
    let names = ["plan", "build", "load", "inspect", "validate", "backends", "doctor", "cache-show"];
    assert_eq!(documents.len(), names.len(), "{run:#?}");
    for (name, document) in names.iter().zip(documents) {
        conforms(name, &serde_json::from_str(document).unwrap());
    }
}

each!(every_line_of_a_stream_has_it: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn every_line_of_a_stream_has_it(host: Host) {
    let run = host.sh(
        "cd $(mktemp -d) && cp -r $OLDPWD/examples/cowsay . && nixoci build ./cowsay#container --no-link -L --format jsonl
         nixoci shell --progress-fd 3 3>&1 -- true; nixoci run ./cowsay#container --progress-fd 3 3>events >/dev/null; cat events
         nixoci plan ./cowsay#nope --format jsonl; nixoci build ./cowsay#nope --no-link --progress-fd 3 3>&1",
    );
    let lines: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter().for_each(|line| conforms("line", line));
    let count = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    assert_eq!((count("hello"), count("result"), count("error")), (5, 3, 2), "{run:#?}");
}
