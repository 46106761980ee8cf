//! `nixoci plan`.

use std::fmt::Write as _;

use nixoci_core::Result;
use nixoci_core::artifact::StorePath;
use nixoci_core::backend::{Forecast, How};
use nixoci_core::request::Installable;
use nixoci_core::text::{bytes, count};
use nixoci_engine::{PlanReport, PlatformPlan};

use crate::app::App;
use crate::args::BuildArgs;
use crate::output::steps;
use crate::resolve;

/// More derivations than this are counted, not listed, unless asked for with -v.
const LISTED: usize = 10;

pub(crate) async fn run(app: &App, args: &BuildArgs) -> Result<u8> {
    let job = resolve::job(app, args)?;
    if let Some(limit) = args.how.timeout {
        app.signals.limit(limit);
    }
    let cache = app.cache()?;
    let report = nixoci_engine::plan(&app.engine(&cache), &job).await?;
    app.ui.finish();
    let limit = if app.printer.verbosity > crate::output::Verbosity::Normal { usize::MAX } else { LISTED };
    app.printer.result(&report, &human(&report, limit))?;
    Ok(0)
}

fn human(plan: &PlanReport, limit: usize) -> String {
    let mut text = String::new();
    for (place, platform) in plan.platforms.iter().enumerate() {
        if place > 0 {
            text.push('\n');
        }
        of_platform(&mut text, plan, platform, limit);
    }
    for destination in &plan.destinations {
        let _ = writeln!(text, "then      {destination}");
    }
    text
}

fn of_platform(text: &mut String, whole: &PlanReport, plan: &PlatformPlan, limit: usize) {
    let _ = writeln!(text, "build     {}", shown(whole, plan));
    let _ = writeln!(text, "platform  {} ({})", plan.platform, plan.system);
    let how = match plan.how {
        How::Native => "natively",
        How::Translated => "by emulation, slower than natively",
        How::Cross => "by cross compilation",
    };
    let _ = writeln!(text, "backend   {}, {how}", plan.backend);
    for other in &plan.alternatives {
        let _ = writeln!(text, "          {other} could too");
    }
    for rejection in &plan.rejected {
        let _ = writeln!(text, "          not {}: {}", rejection.backend, rejection.error);
    }
    text.push_str(&steps::list(&plan.provision));
    work(text, plan, limit);
}

fn shown(whole: &PlanReport, plan: &PlatformPlan) -> String {
    match &whole.installable {
        Installable::Flake { reference, attribute } => {
            format!("{reference}#{}", plan.forecast.attribute.as_deref().unwrap_or(attribute.as_str()))
        }
        Installable::File { path, attribute, .. } => {
            let attribute = attribute.as_ref().map(|attribute| format!(" {attribute}")).unwrap_or_default();
            format!("{}{attribute}", path.display())
        }
        Installable::StorePath { path } => path.to_string(),
        _ => String::new(),
    }
}

fn work(text: &mut String, plan: &PlatformPlan, limit: usize) {
    if plan.up_to_date {
        let _ = writeln!(text, "nix       nothing to do, it is built already");
    }
    let download =
        plan.forecast.download_bytes.map(|size| format!(", {} to download", bytes(size))).unwrap_or_default();
    list(text, "fetch", &plan.forecast.will_fetch, &download, limit);
    list(text, "build", &plan.forecast.will_build, "", limit);
    if let Some(cost) = &plan.forecast.cost {
        let _ = writeln!(text, "cost      {cost}");
    }
    for other in &plan.compared {
        let _ = writeln!(text, "          {}: {}", other.backend, in_short(&other.forecast));
    }
    if let Some(output) = &plan.forecast.output {
        let _ = writeln!(text, "output    {output}");
    }
}

/// What another backend would do.
fn in_short(forecast: &Forecast) -> String {
    if forecast.drv.is_none() {
        return "not known before it is made ready".to_owned();
    }
    let (builds, fetches) = (forecast.will_build.len(), forecast.will_fetch.len());
    format!("{} to build, {} to fetch", count(builds, "derivation"), count(fetches, "store path"))
}

fn list(text: &mut String, verb: &str, paths: &[StorePath], more: &str, limit: usize) {
    if paths.is_empty() {
        return;
    }
    let thing = if verb == "build" { "derivation" } else { "store path" };
    let _ = writeln!(text, "nix       {verb} {}{more}", count(paths.len(), thing));
    for path in paths.iter().take(limit) {
        let _ = writeln!(text, "            {}", path.name());
    }
    if paths.len() > limit {
        let _ = writeln!(text, "            and {} more; -v lists them", paths.len() - limit);
    }
}
