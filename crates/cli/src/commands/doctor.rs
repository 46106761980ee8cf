//! `nixoci doctor`.

use std::fmt::Write as _;

use nixoci_core::backend::{Check, CheckVerdict};
use nixoci_core::config::LoadTarget;
use nixoci_core::{ErrorKind, Result};
use nixoci_engine::{Doctor, Examination};

use crate::app::App;
use crate::args::DoctorArgs;
use crate::resolve;

pub(crate) async fn run(app: &App, args: DoctorArgs) -> Result<u8> {
    let settings = resolve::settings(app, None)?;
    let how = Examination { docker_host: args.docker.docker_host, build: args.build };
    let doctor = nixoci_engine::doctor(&app.cx(), &app.registry, &settings.backend_tables, &how).await?;
    app.ui.finish();
    app.printer.result(&doctor, &human(&doctor))?;
    Ok(if doctor.ready { 0 } else { ErrorKind::NoBackend.exit_code() })
}

fn human(doctor: &Doctor) -> String {
    let mut text = String::new();
    section(&mut text, "this machine", &doctor.host);
    for (name, checks) in &doctor.backends {
        section(&mut text, &format!("backend {name}"), checks);
    }
    for (name, checks) in &doctor.runtimes {
        section(&mut text, &format!("runtime {name} ({})", good_for(name)), checks);
    }
    let verdict = if doctor.ready {
        "\nnixoci can build here.\n"
    } else {
        "\nnixoci cannot build here yet: no backend is usable. Follow a fix above.\n"
    };
    text.push_str(verdict);
    text
}

/// What is loaded into a cluster is run by Kubernetes.
fn good_for(runtime: &str) -> &'static str {
    match LoadTarget::from_name(runtime) {
        Some(LoadTarget::Into(runtime)) if runtime.is_cluster() => "for --load",
        _ => "for --load and run",
    }
}

fn section(text: &mut String, title: &str, checks: &[Check]) {
    if checks.is_empty() {
        return;
    }
    let _ = writeln!(text, "{title}");
    for check in checks {
        let mark = match check.verdict {
            CheckVerdict::Good => "ok  ",
            CheckVerdict::Warning => "warn",
            CheckVerdict::Bad => "bad ",
        };
        let _ = writeln!(text, "  {mark}  {}: {}", check.title, check.detail);
        for remedy in &check.remedies {
            let _ = writeln!(text, "        {}", remedy.text);
            for line in remedy.command.iter().flat_map(|command| command.lines()) {
                let _ = writeln!(text, "            {line}");
            }
        }
    }
}
