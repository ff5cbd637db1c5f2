//! Watching a run to its end: progress for people, Ctrl-C for impatient ones.

use super::client::{Operator, is_passing};
use super::failure::Failure;
use super::output::note;
use crate::report::progress;
use crate::terminal::Terminal;
use serde_json::Value;
use squall_proto::{LiveView, RunFinished, RunUpdate, StopRunRequest, run_update};
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic::Streaming;

/// Between lines where nothing can be redrawn.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// How often, and for how long, a controller that went away is looked for.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(500);
const LOOK_FOR: Duration = Duration::from_secs(60);

/// What Ctrl-C does while we look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnInterrupt {
    /// It is our run: stop it gracefully, then at once.
    Stop,
    /// We only watch: leave it alone.
    Leave,
}

/// Shows a run until it ends; `None`: the watcher left before. A controller that
/// goes away and comes back, or another that takes its place, is looked for.
pub async fn follow(
    operator: &mut Operator,
    run_id: &str,
    quiet: bool,
    on_interrupt: OnInterrupt,
) -> Result<Option<RunFinished>, Failure> {
    let mut display = Display::new(quiet);
    let mut interrupts = 0u32;
    // One for all: a signal that comes while the last one is acted upon must not be lost.
    let mut pressed = signal(SignalKind::interrupt())
        .map_err(|error| Failure::internal(format!("cannot listen for Ctrl-C: {error}")))?;
    let mut updates = operator.watch(run_id).await?;
    loop {
        tokio::select! {
            update = updates.message() => match update {
                Ok(Some(RunUpdate { update: Some(update) })) => match update {
                    run_update::Update::Live(view) => display.view(&view),
                    run_update::Update::EventJson(line) => display.event(&line),
                    run_update::Update::Finished(finished) => {
                        display.clear();
                        return Ok(Some(finished));
                    }
                },
                Ok(Some(RunUpdate { update: None })) => {}
                Ok(None) => {
                    display.clear();
                    updates = watch_again(operator, run_id, &mut pressed).await?;
                }
                Err(status) if is_passing(&status) => {
                    display.clear();
                    updates = watch_again(operator, run_id, &mut pressed).await?;
                }
                Err(status) => {
                    display.clear();
                    return Err(operator.failure(&status));
                }
            },
            _ = pressed.recv() => {
                display.clear();
                if on_interrupt == OnInterrupt::Leave {
                    note(&format!("the run goes on; squall stop {run_id} stops it"));
                    return Ok(None);
                }
                interrupts += 1;
                let now = interrupts > 1;
                note(if now { "stopping now" } else { "stopping; requests in flight may end (Ctrl-C again: stop now)" });
                let request = StopRunRequest { run_id: run_id.to_owned(), now, reason: "stopped by Ctrl-C".to_owned() };
                operator.grpc.stop_run(request).await.map_err(|status| operator.failure(&status))?;
            }
        }
    }
}

/// Looks for the controller until it is there again. Ctrl-C ends the looking, not the run.
async fn watch_again(
    operator: &mut Operator,
    run_id: &str,
    pressed: &mut Signal,
) -> Result<Streaming<RunUpdate>, Failure> {
    note(&format!("the controller does not answer; run {run_id} goes on within its load lease; looking for it"));
    let looked_since = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN_EVERY) => {}
            _ = pressed.recv() => {
                return Err(Failure::aborted(format!("left; run {run_id} may go on: `squall watch {run_id}` finds it")));
            }
        }
        match operator.try_watch(run_id).await {
            Ok(updates) => {
                note("the controller is back");
                return Ok(updates);
            }
            Err(status) if is_passing(&status) && looked_since.elapsed() < LOOK_FOR => operator.move_on(&status).await,
            Err(status) => return Err(operator.failure(&status)),
        }
    }
}

struct Display {
    terminal: Terminal,
    quiet: bool,
    /// Lines on the screen that the next view replaces.
    drawn: usize,
    last_plain: Option<Instant>,
}

impl Display {
    fn new(quiet: bool) -> Self {
        Self { terminal: Terminal::of_stderr(), quiet, drawn: 0, last_plain: None }
    }

    fn view(&mut self, view: &LiveView) {
        if self.quiet {
            return;
        }
        if self.terminal.interactive {
            let lines = progress::line(view, self.terminal.width, self.terminal.colour);
            self.clear();
            note(&lines);
            self.drawn = lines.lines().count();
        } else if self.last_plain.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
            self.last_plain = Some(Instant::now());
            note(&progress::plain(view));
        }
    }

    /// Only what someone waiting should know at once.
    fn event(&mut self, line: &str) {
        let Ok(event) = serde_json::from_str::<Value>(line) else { return };
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let told = match text("event").as_str() {
            "agent_lost" => format!("agent {} is lost: {}", text("agent"), text("reason")),
            _ => return,
        };
        self.clear();
        note(&told);
    }

    fn clear(&mut self) {
        if self.drawn > 0 {
            // To the first column (a terminal shows Ctrl-C as `^C`), up by what
            // was drawn, and clear to the end of the screen.
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[{}A\u{1b}[J", self.drawn);
            self.drawn = 0;
        }
    }
}
