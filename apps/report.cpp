// report/1: writing, and comparing with an older one.

#include <fmt/core.h>

#include <cmath>
#include <map>

#include "apps/compare.h"
#include "core/error.h"
#include "core/json.h"
#include "core/text.h"

namespace espalier::apps {
namespace {

void optional_field(core::JsonWriter& w, std::string_view key, const std::optional<double>& value) {
  w.key(key);
  if (value) {
    w.value(*value);
  } else {
    w.null();
  }
}

void write_row(core::JsonWriter& w, const ReportRow& row) {
  w.begin_object();
  w.field("input", row.input).field("snapshot", row.snapshot).field("device", row.device).field("heads", row.heads);
  w.field("strategy", row.strategy).field("cost_model", row.cost_model).field("kernels", row.kernels);
  w.field("status", status_name(row.status));
  w.field("requests", row.requests).field("dedupe", row.dedupe);
  optional_field(w, "time_us", row.time_us);
  optional_field(w, "time_low_us", row.time_low_us);
  optional_field(w, "time_high_us", row.time_high_us);
  optional_field(w, "speedup_vs_flash_decoding", row.speedup_vs_flash_decoding);
  w.field("lower_bound_us", row.lower_bound_us);
  optional_field(w, "share_of_bound", row.share_of_bound);
  optional_field(w, "share_of_datasheet_bound", row.share_of_datasheet_bound);
  w.field("hbm_bytes", row.hbm_bytes).field("l2_bytes", row.l2_bytes).field("tasks", row.tasks);
  w.field("launches", row.launches).field("partial_rows", row.partial_rows);
  optional_field(w, "plan_us", row.plan_us);
  optional_field(w, "ms_per_token", row.ms_per_token);
  w.field("workspace_bytes", row.workspace_bytes).field("graph_safe", row.graph_safe).field("bound_by", row.bound_by);
  for (int b = 0; b < sim::kBounds; ++b) {
    w.field(fmt::format("busy_{}", sim::bound_name(static_cast<sim::Bound>(b))), row.shares.busy[b]);
  }
  w.field("idle_launch", row.shares.launch).field("idle_underfill", row.shares.underfill);
  w.field("idle_tail", row.shares.tail).field("idle_merge", row.shares.merge);
  w.field("plan_hash", row.plan_hash).field("why", row.why);
  w.end_object();
}

std::string row_key(const std::string& input, std::int64_t snapshot, const std::string& device,
                    const std::string& heads, const std::string& strategy_and_kernels) {
  return fmt::format("{}#{} on {} at {}: {}", input, snapshot, device, heads, strategy_and_kernels);
}

}  // namespace

std::string write_report(const std::vector<ReportRow>& rows, const CompareOptions& options,
                         const std::string& command) {
  core::JsonWriter w;
  w.begin_object().field("schema", "report/1");
  w.key("environment").begin_object();
  w.field("program", "espalier " ESPALIER_VERSION).field("command", command).field("times", "simulated");
  w.field("model", options.heads.model)
      .field("layers", options.heads.layers)
      .field("seed", static_cast<std::int64_t>(options.seed));
  w.end_object();
  w.key("rows").begin_array();
  for (const ReportRow& row : rows) write_row(w, row);
  w.end_array().end_object();
  return w.finish();
}

std::string describe_changes(const std::vector<ReportRow>& rows, std::string_view old_report, const std::string& file) {
  struct Old {
    std::string status, plan_hash;
    std::optional<double> time_us;
  };
  const core::JsonDocument document = core::JsonDocument::parse(old_report, file);
  const core::JsonView root = document.root();
  root.require_schema("report/1");
  std::map<std::string, Old> before;
  const core::JsonView old_rows = root.at("rows");
  for (std::size_t i = 0; i < old_rows.size(); ++i) {
    const core::JsonView row = old_rows.at(i);
    const auto time = row.at("time_us");
    before[row_key(row.at("input").string(), row.at("snapshot").integer(), row.at("device").string(),
                   row.at("heads").string(), row.at("strategy").string() + " " + row.at("kernels").string())] = {
        row.at("status").string(), row.find("plan_hash") ? row.at("plan_hash").string() : "",
        time.is_null() ? std::nullopt : std::optional(time.number())};
  }
  std::string text;
  std::size_t same = 0;
  for (const ReportRow& row : rows) {
    const std::string key = row_key(row.input, row.snapshot, row.device, row.heads, row.strategy + " " + row.kernels);
    const auto it = before.find(key);
    if (it == before.end()) {
      text += fmt::format("  new      {}\n", key);
      continue;
    }
    const Old old = it->second;
    before.erase(it);
    if (old.status != status_name(row.status)) {
      text += fmt::format("  status   {}: {} -> {}\n", key, old.status, status_name(row.status));
    } else if (old.time_us && row.time_us && std::abs(*row.time_us / *old.time_us - 1.0) > 1e-9) {
      text += fmt::format("  time     {}: {} -> {} ({:+.1f} %)\n", key, core::time_text(*old.time_us),
                          core::time_text(*row.time_us), (*row.time_us / *old.time_us - 1.0) * 100.0);
    } else if (old.plan_hash != row.plan_hash) {
      text += fmt::format("  plan     {}: another plan, same time\n", key);
    } else {
      ++same;
    }
  }
  for (const auto& [key, old] : before) text += fmt::format("  gone     {}\n", key);
  return fmt::format("against {}: {} unchanged\n{}", file, core::counted(same, "row"), text);
}

}  // namespace espalier::apps
