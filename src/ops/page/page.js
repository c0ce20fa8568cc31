"use strict";
// Polls once a second; everything is put in as text, so no symbol or message can become markup.
const at = (id) => document.getElementById(id);
const put = (id, text) => { at(id).textContent = text; };
const ms = (us) => us >= 1e6 ? (us / 1e6).toFixed(2) + " s" : (us / 1e3).toFixed(1) + " ms";
const count = (n) => Math.round(n).toLocaleString("en");
const words = (state) => state.replaceAll("_", " ");
const counts = (table) =>
  Object.entries(table).filter(([, n]) => n > 0).map(([kind, n]) => `${words(kind)} ${count(n)}`).join(", ") || "none";

function rows(id, lines) {
  at(id).replaceChildren(...lines.map((cells) => {
    const line = document.createElement("tr");
    line.append(...cells.map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return line;
  }));
}

function health(good, text) {
  put("health", text);
  at("health").className = good ? "good" : "bad";
}

function show(status) {
  const { stream, writer } = status;
  const prices = status.role !== "user-data" && status.role !== "work";
  const good = (!prices || (stream.state === "live" && writer.state === "writing")) && status.alarms.length === 0;
  health(good, good ? "healthy" : "needs a look");
  put("who", `${status.version} · ${status.role} · pid ${status.pid} · since ${status.started_at}`);
  put("ticks", count(stream.prices_per_s));
  put("rows", count(writer.rows_per_s));
  for (const name of ["p50", "p99", "max"]) {
    put(name, writer.tick_to_commit_us ? ms(writer.tick_to_commit_us[name]) : "–");
  }
  put("rss", (status.rss_bytes / 1e6).toFixed(1) + " MB");
  at("alarms").replaceChildren(...status.alarms.map((text) => {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
  }));
  const fault = stream.last_fault;
  rows("state", [
    ["stream", `${words(stream.state)}, ${stream.host}, attempt ${stream.attempt}`],
    ["connected since", stream.connected_since || "–"],
    ["newest price", stream.last_data_at || "–"],
    ["last fault", fault ? `${fault.text} (${fault.at})` : "none"],
    ["faults", counts(status.faults)],
    ["of these", counts(status.fault_kinds)],
    ["frames", `${count(stream.frames)}, ${(stream.bytes / 1e6).toFixed(1)} MB`],
    ["entries", counts(stream.entries)],
    ["writer", words(writer.state) + (writer.last_error ? `; last error: ${writer.last_error}` : "")],
    ["written", `${count(writer.rows_written)} rows in ${count(writer.commits)} commits`],
    ["symbol map", counts(writer.map)],
    ["unseen for 60 s", writer.unseen.join(", ") || "none"],
    ["quarantined", writer.quarantined.join(", ") || "none"],
  ]);
}

function latency(us) {
  return us ? `p50 ${ms(us.p50)}, p99 ${ms(us.p99)}, max ${ms(us.max)}` : "–";
}

function showAccounts(on) {
  at("accounts").hidden = !on;
  if (!on) return;
  const net = on.reconcile;
  const lines = [
    ["live", `${count(on.live)} of ${count(on.accounts)}`],
    ["frames", `${count(on.frames)}, ${count(on.jobs)} jobs, ${count(on.behind)} behind`],
    ["gaps", net
      ? `${count(on.gaps)} recorded, ${count(net.gaps_closed)} closed, ${count(net.recovered)} events recovered`
      : `${count(on.gaps)} recorded; nobody here closes them`],
  ];
  if (net) {
    lines.push(["being closed", `${count(net.running)} accounts are read, ${count(net.waiting)} wait, ${count(net.degraded)} degraded, ${count(net.switched_off)} switched off before`]);
    lines.push(["safety net", `${count(net.sync_rounds)} rounds, ${count(net.drifted)} orders had drifted`]);
    lines.push(["REST weight", `${count(net.weight_used)} of ${count(net.weight_limit)} in the last minute`]);
    lines.push(["venue's clock", net.venue_ahead_ms === null ? "not asked yet" : `${(net.venue_ahead_ms / 1e3).toFixed(1)} s ahead of this machine's`]);
  }
  rows("private", lines);
  // Those that are not well come first, so that none is cut off.
  const streams = on.streams.slice().sort((one, other) => !!other.degraded - !!one.degraded);
  rows("streams", streams.slice(0, 100).map((one) =>
    [`${one.id} ${one.name}`, words(one.phase), count(one.frames), count(one.gaps), one.degraded || "–"]));
  rows("repairs", (net ? net.repairs : []).slice().reverse().map((one) =>
    [one.account, one.started_at || "the beginning", one.ended_at, words(one.reason), count(one.recovered), one.closed_at]));
}

function showWork(work) {
  at("work").hidden = !work;
  if (!work) return;
  const mode = work.allowlist.length ? `applies ${work.allowlist.join(", ")}` : "SHADOW MODE: audited, nothing applied";
  rows("worker", [
    ["mode", mode],
    ["lease", work.lease],
    ["jobs", `${count(work.applied)} applied, ${count(work.jobs_per_s)}/s, ${count(work.duplicates)} duplicates`],
    ["waiting", `${count(work.in_hand)} in hand, ${count(work.queue_depth)} on the queue, oldest ${ms(work.oldest_ms * 1e3)}`],
    ["trouble", `${count(work.retries)} retries, ${count(work.failed)} failed, ${count(work.disorder)} out of order`],
    ["intents", `${count(work.intents)} written, ${count(work.intents_pushed)} pushed`],
    ["frame to commit", latency(work.receive_to_commit_us)],
    ["reservation to commit", latency(work.reserve_to_commit_us)],
  ]);
  rows("held", work.held.map((lane) => [lane.account === null ? "no job of ours" : lane.account, lane.since, lane.jobs, lane.why]));
}

async function poll() {
  try {
    const [status, prices] = await Promise.all(["status.json", "prices.json?limit=50"].map(async (path) => {
      const answer = await fetch(path, { signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(answer.status);
      return answer.json();
    }));
    show(status);
    showAccounts(status.user_data);
    showWork(status.work);
    rows("prices", prices.map((row) => [row.symbol, row.price, row.at]));
  } catch {
    health(false, "no answer: the process has ended or is busy");
  }
  setTimeout(poll, 1000);
}
poll();
