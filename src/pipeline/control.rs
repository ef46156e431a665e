//! Serves a running sensor until it is told to stop: signals, metrics, the service manager.

use super::reload::Request;
use super::{Sensor, Totals};
use crate::admin;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often kernel drops are read and the status line is renewed.
const UPKEEP: Duration = Duration::from_secs(1);

/// Exit code of a second request to stop: 128 + SIGTERM.
const IMPATIENT: i32 = 143;

/// Serves until SIGTERM or SIGINT (or `until` resolves), then stops the sensor and tells the totals.
pub fn serve(sensor: Sensor, until: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<Totals> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let state = sensor.state.clone();
    let requests = sensor.reload.requests();
    let admin = sensor.admin.try_clone()?;
    let progress: Vec<(String, Arc<AtomicU64>)> = sensor
        .workers
        .iter()
        .map(|worker| (worker.name.clone(), worker.progress.clone()))
        .chain([("alert thread".to_string(), state.alert_progress.clone())])
        .collect();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut report = signal(SignalKind::user_defined1())?;
        tokio::spawn(admin::serve(admin, state.clone(), std::future::pending()));
        tokio::spawn(watchdog(progress));
        let mut upkeep = tokio::time::interval(UPKEEP);
        let mut until = std::pin::pin!(until);
        let mut failed = false;
        sd_notify::notify(&[NotifyState::Ready]).ok();
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = &mut until => break,
                _ = hangup.recv() => { requests.send(Request::All).ok(); }
                _ = report.recv() => state.tell_outputs(),
                _ = upkeep.tick() => {
                    state.refresh();
                    if let Some(dead) = sensor.dead() {
                        tracing::error!(thread = dead, "has ended; the sensor stops, since it would miss what it reads");
                        failed = true;
                        break;
                    }
                    sd_notify::notify(&[NotifyState::Status(&state.status())]).ok();
                }
            }
        }
        sd_notify::notify(&[NotifyState::Stopping]).ok();
        // Health and metrics are answered while the sensor drains; a second signal is impatience.
        let stopped = tokio::task::spawn_blocking(move || sensor.stop());
        tokio::select! {
            stopped = stopped => {
                let totals = stopped??;
                anyhow::ensure!(!failed, "a thread of the sensor ended before its time");
                Ok(totals)
            }
            _ = terminate.recv() => std::process::exit(IMPATIENT),
            _ = interrupt.recv() => std::process::exit(IMPATIENT),
        }
    })
}

/// Tells the service manager that the sensor is alive, only while every worker makes progress.
async fn watchdog(progress: Vec<(String, Arc<AtomicU64>)>) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval(interval / 3);
    let mut last: Vec<u64> = progress.iter().map(|_| u64::MAX).collect();
    loop {
        tick.tick().await;
        let mut stuck = None;
        for ((name, progress), last) in progress.iter().zip(&mut last) {
            let now = progress.load(Ordering::Relaxed);
            if now == std::mem::replace(last, now) {
                stuck = Some(name);
            }
        }
        match stuck {
            None => {
                sd_notify::notify(&[NotifyState::Watchdog]).ok();
            }
            Some(name) => tracing::error!(thread = name, "makes no progress"),
        }
    }
}
