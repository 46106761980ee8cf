//! `nixoci provision`: makes a backend ready, or puts it away.

mod write;

use std::fmt::Write as _;

use nixoci_core::Result;
use nixoci_core::config::{Origin, Setting, Sources, Wishes, resolve};
use nixoci_engine::{ProvisionJob, ProvisionReport, PutAway};

use crate::app::App;
use crate::args::ProvisionArgs;
use crate::resolve::{agreed, parse_platform};

pub(crate) use write::WriteReport;

pub(crate) async fn run(app: &App, mut args: ProvisionArgs) -> Result<u8> {
    if let Some(file) = args.write.take() {
        return write::run(app, &file, &job(app, args)?).await;
    }
    let how = match (args.stop, args.remove) {
        (true, _) => Some(PutAway::Stop),
        (_, true) => Some(PutAway::Remove),
        _ => None,
    };
    let job = job(app, args)?;
    let cache = app.cache()?;
    match how {
        None => {
            let report = nixoci_engine::provision(&app.engine(&cache), &job).await;
            let report = report.map_err(|error| error.without_remedy("--stall-timeout 10m"))?;
            app.ui.finish();
            app.printer.result(&report, &human(&report))?;
        }
        Some(how) => {
            let report = nixoci_engine::put_away(&app.engine(&cache), &job, how).await?;
            app.ui.finish();
            // What was done the backends have said.
            app.printer.result(&report, "")?;
        }
    }
    Ok(0)
}

fn job(app: &App, args: ProvisionArgs) -> Result<ProvisionJob> {
    let platforms: Vec<_> = args.platform.iter().map(|text| parse_platform(text)).collect::<Result<_>>()?;
    let named = !args.backend.is_empty();
    let flags = Wishes {
        backends: named.then(|| Setting::new(args.backend, Origin::Flag("--backend"))),
        platforms: (!platforms.is_empty()).then(|| Setting::new(platforms, Origin::Flag("--platform"))),
        ..Wishes::default()
    };
    let settings = resolve(Sources { flags, host: &app.host, files: &app.files, image: None })?;
    let native = || vec![app.native()];
    Ok(ProvisionJob {
        platforms: settings.platforms.map_or_else(native, |setting| setting.value),
        backends: settings.backends.value,
        named,
        backend_tables: settings.backend_tables,
        agreed: agreed(&args.consent, false),
    })
}

fn human(report: &ProvisionReport) -> String {
    let mut text = String::new();
    for backend in &report.backends {
        let what = if backend.changed { "made ready" } else { "nothing to do, it is ready" };
        let _ = writeln!(text, "{}: {what}", backend.backend);
        for check in &backend.proof {
            let _ = writeln!(text, "  {}: {}", check.title, check.detail);
        }
    }
    text
}
