// Reading, writing and asking a policy; see the header.
#include "scheduler/policy.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/text.h"

namespace espalier::scheduler {
namespace {

bool same_choice(const PolicyRow& a, const PolicyRow& b) { return a.strategy == b.strategy && a.kernels == b.kernels; }

const PolicyRow& nearest(const std::vector<PolicyRow>& rows, const WorkloadFeatures& features) {
  ESPALIER_CHECK(!rows.empty());
  return *std::min_element(rows.begin(), rows.end(), [&](const PolicyRow& a, const PolicyRow& b) {
    return distance(a.features, features) < distance(b.features, features);
  });
}

PolicyRow read_row(const core::JsonView& view) {
  view.allow_only(
      {"input", "dedupe", "requests", "depth", "unique_tokens", "strategy", "kernels", "time_us", "best_known_us"});
  PolicyRow row;
  row.input = view.at("input").string();
  row.features.dedupe = view.at("dedupe").number(1);
  row.features.requests = view.at("requests").integer(1);
  row.features.depth = view.at("depth").integer(0);
  row.features.unique_tokens = view.at("unique_tokens").integer(1);
  row.strategy = view.at("strategy").string();
  row.kernels = view.at("kernels").strings();
  row.time_us = view.at("time_us").number(0);
  row.best_known_us = view.at("best_known_us").number(0);
  try {
    (void)parse_strategy(row.strategy);
    for (const std::string& name : row.kernels) (void)costmodel::find_kernel(name);
  } catch (const core::Error& error) {
    throw core::Error(core::ErrorKind::bad_input, fmt::format("{}: {}", view.where(), error.what()));
  }
  return row;
}

traces::Dtype read_dtype(const core::JsonView& view) {
  const auto dtype = traces::dtype_of(view.string());
  if (!dtype) throw core::bad_input(view.where(), "bf16, fp16 or fp8_e4m3", view.string());
  return *dtype;
}

std::string with_dtype(const traces::HeadConfig& heads) {
  return fmt::format("heads {} in {}", traces::heads_text(heads), traces::dtype_name(heads.kv_dtype));
}

}  // namespace

WorkloadFeatures features_of(const traces::PrefixForest& forest) {
  WorkloadFeatures features;
  features.requests = static_cast<std::int64_t>(forest.request_count());
  for (const std::int32_t depth : traces::depths(forest)) {
    features.depth = std::max<std::int64_t>(features.depth, depth);
  }
  features.unique_tokens = traces::unique_tokens(forest);
  features.dedupe = static_cast<double>(traces::logical_tokens(forest)) /
                    static_cast<double>(std::max<std::int64_t>(1, features.unique_tokens));
  return features;
}

double distance(const WorkloadFeatures& a, const WorkloadFeatures& b) {
  const auto log = [](std::int64_t n) { return std::log2(static_cast<double>(n)); };
  const double parts[] = {2 * (std::log2(a.dedupe) - std::log2(b.dedupe)), log(a.requests) - log(b.requests),
                          log(1 + a.depth) - log(1 + b.depth), log(a.unique_tokens) - log(b.unique_tokens)};
  double sum = 0;
  for (const double part : parts) sum += part * part;
  return std::sqrt(sum);
}

const PolicyRow& choose(const Policy& policy, const WorkloadFeatures& features) {
  return nearest(policy.rows, features);
}

std::vector<PolicyRow> by_distance(const Policy& policy, const WorkloadFeatures& features) {
  std::vector<PolicyRow> rows = policy.rows;
  std::stable_sort(rows.begin(), rows.end(), [&](const PolicyRow& a, const PolicyRow& b) {
    return distance(a.features, features) < distance(b.features, features);
  });
  return rows;
}

std::vector<PolicyRow> condensed(const std::vector<PolicyRow>& rows) {
  std::vector<bool> kept(rows.size(), false);
  std::vector<PolicyRow> few;
  for (bool changed = !rows.empty(); changed;) {
    changed = false;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (kept[i] || (!few.empty() && same_choice(nearest(few, rows[i].features), rows[i]))) continue;
      kept[i] = changed = true;
      few.clear();
      for (std::size_t k = 0; k < rows.size(); ++k) {
        if (kept[k]) few.push_back(rows[k]);
      }
    }
  }
  return few;
}

namespace {

/// Rows a line each. A quotation mark inside a string is escaped, so neither pattern can be part of one.
std::string row_a_line(std::string text) {
  constexpr std::string_view kBegin = "{\"input\":";
  for (std::size_t at = text.find(kBegin); at != std::string::npos; at = text.find(kBegin, at + kBegin.size() + 1)) {
    const bool first = text[at - 1] == '[';
    text.replace(first ? at : at - 1, first ? 0 : 1, "\n    ");
    at += 5;
  }
  return text;
}

}  // namespace

std::string write_policy(const Policy& policy) {
  core::JsonWriter w;
  w.begin_object().field("schema", "policy/1");
  w.field("device", policy.device).field("device_hash", core::hash_text(policy.device_hash));
  w.field("heads", traces::heads_text(policy.heads)).field("q_dtype", traces::dtype_name(policy.heads.q_dtype));
  w.field("kv_dtype", traces::dtype_name(policy.heads.kv_dtype)).key("rows").begin_array();
  for (const PolicyRow& row : policy.rows) {
    w.begin_object()
        .field("input", row.input)
        .field("dedupe", row.features.dedupe)
        .field("requests", row.features.requests);
    w.field("depth", row.features.depth).field("unique_tokens", row.features.unique_tokens);
    w.field("strategy", row.strategy).field("kernels", row.kernels).field("time_us", row.time_us);
    w.field("best_known_us", row.best_known_us).end_object();
  }
  return row_a_line(w.end_array().end_object().finish());
}

Policy read_policy(std::string_view text, const std::string& file) {
  const core::JsonDocument document = core::JsonDocument::parse(text, file);
  const core::JsonView root = document.root();
  root.require_schema("policy/1");
  root.allow_only({"schema", "device", "device_hash", "heads", "q_dtype", "kv_dtype", "rows"});
  Policy policy;
  policy.device = root.at("device").string();
  policy.device_hash = root.at("device_hash").hash();
  const std::string heads(root.at("heads").string());
  try {
    policy.heads = traces::parse_heads(heads);
  } catch (const core::Error& error) {  // names the heads itself
    throw core::Error(core::ErrorKind::bad_input, fmt::format("{}: {}", file, error.what()));
  }
  policy.heads.q_dtype = read_dtype(root.at("q_dtype"));
  policy.heads.kv_dtype = read_dtype(root.at("kv_dtype"));
  const core::JsonView rows = root.at("rows");
  for (std::size_t i = 0; i < rows.size(); ++i) policy.rows.push_back(read_row(rows.at(i)));
  if (policy.rows.empty()) throw core::bad_input(rows.where(), "at least one row", "none");
  return policy;
}

void require_made_for(const Policy& policy, const costmodel::DeviceSpec& device, const traces::HeadConfig& heads,
                      const std::string& file) {
  if (policy.device_hash != costmodel::device_hash(device)) {
    throw core::bad_input(
        file, fmt::format("a policy for {} (hash {})", device.name, core::hash_text(costmodel::device_hash(device))),
        fmt::format("one for {} (hash {})", policy.device, core::hash_text(policy.device_hash)));
  }
  traces::HeadConfig unscaled = heads;
  unscaled.scale = policy.heads.scale;
  if (!(policy.heads == unscaled)) {
    throw core::bad_input(file, "a policy for " + with_dtype(heads), "one for " + with_dtype(policy.heads));
  }
}

}  // namespace espalier::scheduler
