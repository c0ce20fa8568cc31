//! What the figures were measured on.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// Processor, its cores, the load beside the bench, and what the disk behind `folder` takes to make one page durable.
pub fn print(folder: &Path) {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("unknown", |rest| rest.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    println!("machine: {}, {cores} cores, load {load} at the start", model.trim_start_matches(':').trim());
    match sync_micros(folder) {
        Ok(micros) => println!("fdatasync of 4 KiB behind the databases: {micros:.0} µs, median of 64"),
        Err(error) => println!("fdatasync cannot be measured: {error}"),
    }
}

fn sync_micros(folder: &Path) -> std::io::Result<f64> {
    let mut file = fs::File::create(folder.join("synced"))?;
    let mut times = Vec::new();
    for _ in 0..64 {
        let start = Instant::now();
        file.write_all(&[1; 4_096])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e6)
}
