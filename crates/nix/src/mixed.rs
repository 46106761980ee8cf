//! One graph with derivations for this host and for the machine that builds.
//!
//! An image may contain something that is built on the Mac (as in nix.dev's tutorial, whose first derivations are for the
//! machine that one types on). Nix's daemon builds such a graph by itself: what is for this host here, the rest on its machines. Another machine's
//! store cannot build what is for this host, and neither can a store in nixoci's cache. Then this host's own Nix builds that part, and its outputs are copied.

use std::collections::{BTreeMap, BTreeSet};

use nixoci_core::artifact::StorePath;
use nixoci_core::backend::{Cx, Forecast};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::text::count;
use nixoci_core::{Error, Remedy, Result, codes as core_codes};
use serde_json::Value;

use crate::diagnose::{Subject, diagnose};
use crate::driver::Nix;
use crate::machines::Machine;
use crate::place::Place;
use crate::{cli, codes};

/// The derivations that a build consists of.
#[derive(Debug, Default)]
pub(crate) struct Graph(BTreeMap<StorePath, Node>);

#[derive(Debug)]
struct Node {
    system: String,
    inputs: Vec<StorePath>,
}

impl Graph {
    /// Understands `nix derivation show --recursive`; the error says in words what is odd. Up to Nix 2.31 it is a map from path to derivation, with `inputDrvs`; then
    /// `{"derivations": {base name: …}}`, with `inputs.drvs`.
    pub(crate) fn parse(text: &str) -> Result<Graph, String> {
        let all: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let all = all.get("derivations").unwrap_or(&all);
        let all = all.as_object().ok_or("it is no object")?;
        let path = |name: &String| {
            let whole = if name.starts_with('/') { name.clone() } else { format!("/nix/store/{name}") };
            whole.parse::<StorePath>().map_err(|error| error.to_string())
        };
        let node = |about: &Value| -> Result<Node, String> {
            let system = about.get("system").and_then(Value::as_str).ok_or("a derivation has no system")?;
            let inputs = about.get("inputDrvs").or_else(|| about.get("inputs")?.get("drvs"));
            let inputs = inputs.and_then(Value::as_object).ok_or("a derivation has no inputs")?;
            Ok(Node { system: system.to_owned(), inputs: inputs.keys().map(path).collect::<Result<_, _>>()? })
        };
        let nodes = all.iter().map(|(name, about)| Ok((path(name)?, node(about)?)));
        nodes.collect::<Result<_, String>>().map(Graph)
    }

    /// The derivations for systems of which `is_here` is true that others need. What only those need which are for this host as well comes with them.
    pub(crate) fn frontier(&self, is_here: impl Fn(&str) -> bool) -> Vec<StorePath> {
        let here = |path: &&StorePath| self.0.get(*path).is_some_and(|node| is_here(&node.system));
        let others = self.0.values().filter(|node| !is_here(&node.system));
        let needed: BTreeSet<&StorePath> = others.flat_map(|node| &node.inputs).filter(here).collect();
        needed.into_iter().cloned().collect()
    }
}

/// Whether a failure may be one of those that [`make_here`] mends.
pub(crate) fn is_mixed(error: &Error, place: &Place) -> bool {
    let elsewhere = matches!(place, Place::Machine(_) | Place::Private(_));
    elsewhere && (error.is(&codes::PLATFORM) || error.is(&codes::NO_JOBS))
}

/// The system that a derivation requires which its machine does not build for, as Nix 2.26 and 2.34 say it.
pub(crate) fn required(error: &Error) -> Option<NixSystem> {
    if !error.is(&codes::PLATFORM) {
        return None;
    }
    let after = |text: &str, start: &str| text.split_once(start)?.1.split('\'').next()?.parse().ok();
    error
        .report()
        .causes
        .iter()
        .find_map(|text| after(text, "a '").or_else(|| after(text, "Required system: '")))
}

/// Builds on this host what only this host can, and copies it to the store that `nix` works in. How many derivations that were; none
/// if there is no such part.
///
/// # Errors
/// As [`Nix::build`]; [`codes::MIXED`] if it cannot be copied.
pub(crate) async fn make_here(
    nix: &Nix,
    cx: &Cx<'_>,
    request: &BuildRequest,
    forecast: &Forecast,
) -> Result<usize> {
    let own = nix.at(Place::Own);
    let known = forecast.drv.clone().filter(|drv| drv.as_path().exists());
    let root = match known {
        Some(drv) => Some(drv),
        None => own.evaluate(cx, request).await?.map(|(drv, _)| drv),
    };
    let Some(root) = root else { return Ok(0) };
    let command = cli::graph(&own, &root);
    let text = own.ask(cx, &command, "the derivations could not be read").await?;
    let graph = Graph::parse(&text).map_err(|why| own.unexpected(&command, &why))?;
    let settings = own.settings(cx).await?;
    let there = systems(nix.place());
    let is_here = |system: &str| {
        let system: Option<NixSystem> = system.parse().ok();
        system.is_some_and(|system| settings.builds(&system) && !there.contains(&&system))
    };
    let needed = graph.frontier(is_here);
    if needed.is_empty() {
        return Ok(0);
    }
    cx.observer.info(format!(
        "{} for {} in it: built on this machine, and copied",
        count(needed.len(), "derivation"),
        settings.system
    ));
    finish(
        &own,
        cx,
        &cli::build_derivations(&own, &needed, &request.flags),
        "building on this machine failed",
    )
    .await?;
    finish(nix, cx, &cli::copy(nix, &needed), "what was built on this machine could not be copied")
        .await
        .map_err(|error| not_copied(nix.place(), error))?;
    Ok(needed.len())
}

/// The systems that the machines behind a place build for.
fn systems(place: &Place) -> Vec<&NixSystem> {
    let machines: &[Machine] = match place {
        Place::Machine(remote) => std::slice::from_ref(&remote.machine),
        Place::Private(private) => &private.machines,
        Place::Own | Place::Guest(_) => &[],
    };
    machines.iter().flat_map(|machine| &machine.systems).collect()
}

async fn finish(nix: &Nix, cx: &Cx<'_>, command: &nixoci_core::runner::Command, failure: &str) -> Result<()> {
    let run = nix.run(cx, command).await?;
    if run.exit.success() {
        return Ok(());
    }
    Err(diagnose(&run.record, &Subject::command(cx.host, failure)))
}

fn not_copied(place: &Place, error: Error) -> Error {
    if error.is(&core_codes::CANCELLED) {
        return error;
    }
    let name = place.name().unwrap_or("nixoci's store");
    let text = format!("the image needs derivations of this machine's system, and {name} does not take them");
    let mixed = Error::new(&codes::MIXED, text).because(&error);
    let daemon = Remedy::lines(
        "have the Nix daemon build, which distributes them by itself, in the backend's table in nixoci.toml",
        "transport = \"daemon\"",
    );
    match place {
        Place::Machine(remote) if error.is(&codes::UNSIGNED) => mixed
            .remedy(Remedy::lines(
                format!("let {name} trust the user that you log in as, in its /etc/nix/nix.conf, then restart its daemon"),
                format!("extra-trusted-users = USER    # as `ssh {} id -un` says", remote.machine.host()),
            ))
            .remedy(daemon),
        _ => mixed.remedy(daemon),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> String {
        format!("/nix/store/{}-{name}.drv", "0".repeat(32))
    }

    fn graph(nodes: &[(&str, &str, &[&str])]) -> (String, String) {
        let (mut old, mut new) = (serde_json::Map::new(), serde_json::Map::new());
        for (name, system, inputs) in nodes {
            let keys = |strip: &str| -> Value {
                let key =
                    |input: &&str| (path(input).replace(strip, ""), serde_json::json!({"outputs": ["out"]}));
                Value::Object(inputs.iter().map(key).collect())
            };
            old.insert(path(name), serde_json::json!({"system": system, "inputDrvs": keys("nothing")}));
            let inputs = serde_json::json!({"drvs": keys("/nix/store/"), "srcs": []});
            new.insert(
                path(name).replace("/nix/store/", ""),
                serde_json::json!({"system": system, "inputs": inputs}),
            );
        }
        (Value::Object(old).to_string(), serde_json::json!({"derivations": new, "version": 4}).to_string())
    }

    #[test]
    fn what_is_built_here_is_what_others_need_in_both_forms() {
        let mac = "aarch64-darwin";
        let nodes: &[(&str, &str, &[&str])] = &[
            ("image", "x86_64-linux", &["layer", "motd", "fetch"]),
            ("layer", "x86_64-linux", &["tool"]),
            ("motd", mac, &["words", "linux-part"]),
            ("words", mac, &[]),
            ("tool", mac, &["words"]),
            ("linux-part", "x86_64-linux", &[]),
            ("fetch", "builtin", &[]),
        ];
        let (old, new) = graph(nodes);
        for text in [old, new] {
            let frontier = Graph::parse(&text).unwrap().frontier(|system| system == mac);
            let names: Vec<&str> = frontier.iter().map(StorePath::name).collect();
            assert_eq!(names, ["motd.drv", "tool.drv"]);
            assert!(Graph::parse(&text).unwrap().frontier(|_| false).is_empty());
        }
        for odd in ["[]", "{\"x\": {}}", "{\"derivations\": 1}", ""] {
            assert!(Graph::parse(odd).is_err(), "{odd}");
        }
    }
}
