//! `/metrics`, in Prometheus's text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use procfs::WithCurrentSystemInfo as _;
use procfs::process::Process;
use store::alert::Level;
use store::backend::Depth;

use super::Door;
use super::problem::Problem;
use crate::status::{Component, Document};

/// Answers by the hundred of their status.
#[derive(Default)]
pub(crate) struct Tally([AtomicU64; 5]);

impl Tally {
    pub fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.0[class].fetch_add(1, Ordering::Relaxed);
    }
}

/// What is counted and measured.
pub(crate) async fn show(door: &Door) -> Response {
    match text(door).await {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(problem) => problem.into_response(),
    }
}

async fn text(door: &Door) -> Result<String, Problem> {
    let within = door.within()?;
    let document = within.whole.document().await;
    let document = document.map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", why))?;
    // A database that is away must not hide the rest.
    let depths = within.desk.store.depths().await.unwrap_or_default();
    let alerts = within.desk.store.open_alerts().await;
    let mut page = Page::default();
    requests(&mut page, door);
    parts(&mut page, &document);
    queue(&mut page, &depths);
    if let Ok(open) = alerts {
        self::alerts(&mut page, &open);
    }
    process(&mut page, &document);
    Ok(page.0)
}

fn requests(page: &mut Page, door: &Door) {
    let classes = door.tally.0.iter().zip(1..);
    let rows = classes.map(|(count, class)| (format!("class=\"{class}xx\""), count.load(Ordering::Relaxed)));
    page.family("openclaw_http_responses_total", "counter", "Answers, by the class of their status.", rows);
    let running = door.running.load(Ordering::Relaxed);
    page.family("openclaw_http_requests_running", "gauge", "Requests in work.", [(String::new(), running)]);
}

fn parts(page: &mut Page, document: &Document) {
    let every = || document.components.iter();
    let named =
        |part: &Component| format!("component=\"{}\",kind=\"{}\"", label(&part.name), label(&part.kind));
    let health = every().flat_map(|part| {
        ["ok", "degraded", "failed", "unknown"]
            .map(|health| (format!("{},health=\"{health}\"", named(part)), u8::from(part.health == health)))
    });
    page.family("openclaw_component_health", "gauge", "1 for the health that each part has.", health);
    let ages = every().filter_map(|part| {
        let age = (document.daemon.now - part.evidence.at?).to_std().unwrap_or_default();
        Some((named(part), age.as_secs_f64()))
    });
    page.family("openclaw_component_evidence_age_seconds", "gauge", "Since it last proved something.", ages);
    let agents = || every().filter(|part| part.kind == "agent");
    let agent = |part: &Component| format!("agent=\"{}\"", label(&part.name));
    let restarts = agents().map(|part| (agent(part), part.restarts));
    page.family("openclaw_agent_restarts_total", "counter", "Successors started.", restarts);
    let open = agents().map(|part| (agent(part), u8::from(part.breaker.state != "closed")));
    page.family("openclaw_agent_breaker_open", "gauge", "1 while the breaker is open or half open.", open);
    let running = agents().map(|part| (agent(part), part.running));
    page.family("openclaw_agent_tasks_running", "gauge", "Tasks in its hands.", running);
}

fn queue(page: &mut Page, depths: &[(String, Depth)]) {
    let rows = depths.iter().flat_map(|(agent, depth)| {
        [("queued", depth.queued), ("leased", depth.leased), ("failed", depth.failed)]
            .map(|(state, count)| (format!("agent=\"{}\",state=\"{state}\"", label(agent)), count))
    });
    page.family("openclaw_tasks", "gauge", "Tasks that have not ended well, by state.", rows);
}

fn alerts(page: &mut Page, open: &[(Level, u64)]) {
    let rows = [Level::Info, Level::Warning, Level::Critical].map(|level| {
        let count = open.iter().find(|(of, _)| *of == level).map_or(0, |(_, count)| *count);
        (format!("level=\"{}\"", level.as_str()), count)
    });
    page.family("openclaw_alerts_open", "gauge", "Alerts that are not over, by level.", rows);
}

fn process(page: &mut Page, document: &Document) {
    let daemon = &document.daemon;
    let version = format!("version=\"{}\"", label(&daemon.version));
    page.family("openclaw_build_info", "gauge", "1, with the version.", [(version, 1)]);
    let uptime = [(String::new(), daemon.uptime_seconds)];
    page.family("openclaw_uptime_seconds", "gauge", "Since the daemon's start.", uptime);
    let resident = Process::myself().and_then(|process| process.stat()).map(|stat| stat.rss_bytes().get());
    if let Ok(resident) = resident {
        let row = [(String::new(), resident)];
        page.family("process_resident_memory_bytes", "gauge", "Resident memory.", row);
    }
}

/// Text as a label's value has it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[derive(Default)]
struct Page(String);

impl Page {
    /// A family of rows; left out when there are none.
    fn family<V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        rows: impl IntoIterator<Item = (String, V)>,
    ) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = match labels.as_str() {
                "" => writeln!(self.0, "{name} {value}"),
                labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_told_once_and_labels_are_escaped() {
        let mut page = Page::default();
        page.family("x", "gauge", "Y.", [(format!("a=\"{}\"", label("q\"\\\n")), 1), (String::new(), 2)]);
        page.family("none", "gauge", "Nothing.", Vec::<(String, u8)>::new());
        assert_eq!(page.0, "# HELP x Y.\n# TYPE x gauge\nx{a=\"q\\\"\\\\\\n\"} 1\nx 2\n");
    }
}
