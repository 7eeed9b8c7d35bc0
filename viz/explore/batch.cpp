#include "viz/explore/batch.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/text.h"
#include "traces/families.h"

namespace espalier::viz {
namespace {

using traces::NodeId;
using traces::PrefixForest;
using traces::RequestId;

/// Most slots that a trace is replayed with: beyond, no GPU holds their KV.
constexpr std::int32_t kMostSlots = 1024;

/// Nodes as a file would have them; no requests yet.
traces::ForestSource source_of(const PrefixForest& forest) {
  traces::ForestSource source;
  source.name = forest.name;
  source.page_size = forest.pages.page_size;
  for (std::size_t i = 0; i < forest.node_count(); ++i) {
    source.parent.push_back(forest.is_root(NodeId(i)) ? -1 : forest.parent[NodeId(i)].value);
    source.tokens.push_back(forest.tokens[NodeId(i)]);
  }
  return source;
}

/// The batch some tokens later: every request's own node is longer by as many; one that ended where others go on or end
/// gets a node of its own for them.
PrefixForest decoded(const PrefixForest& forest, std::int32_t steps) {
  traces::ForestSource source = source_of(forest);
  for (std::size_t i = 0; i < forest.request_count(); ++i) {
    const RequestId r(i);
    const NodeId end = forest.leaf[r];
    if (forest.readers(end) == 1) {
      source.tokens[end.index()] = std::min(traces::kMaxNodeTokens, forest.tokens[end] + steps);
      source.leaf.push_back(end.value);
    } else {
      source.parent.push_back(end.value);
      source.tokens.push_back(steps);
      source.leaf.push_back(static_cast<std::int64_t>(source.parent.size()) - 1);
    }
    source.request_label.push_back(forest.request_label[r]);
    source.batch_position.push_back(forest.batch_position[r]);
  }
  return traces::make_forest(source);
}

/// `count` of the requests, evenly over the batch, so that it shares as the whole does.
PrefixForest smaller(const PrefixForest& forest, std::int32_t count) {
  traces::ForestSource source = source_of(forest);
  const std::vector<RequestId> order = traces::batch_order(forest);
  std::vector<RequestId> kept;
  std::vector<std::int32_t> position(order.size(), -1);
  for (std::int32_t i = 0; i < count; ++i) {
    const RequestId r = order[static_cast<std::size_t>(i) * order.size() / static_cast<std::size_t>(count)];
    position[r.index()] = i;
    kept.push_back(r);
  }
  std::sort(kept.begin(), kept.end());
  for (const RequestId r : kept) {
    source.leaf.push_back(forest.leaf[r].value);
    source.request_label.push_back(forest.request_label[r]);
    source.batch_position.push_back(position[r.index()]);
  }
  source.name = fmt::format("{}, {} of {} requests", forest.name, count, order.size());
  return traces::make_forest(source);
}

Batch replayed(const Settings& settings, const Given& given) {
  traces::ReplayOptions options = given.replay;
  if (settings.running > 0) options.running = settings.running;
  const traces::ReplaySchedule schedule = traces::schedule_replay(*given.trace, options);
  Batch batch;
  batch.steps = schedule.steps();
  batch.most_running = std::min(kMostSlots, static_cast<std::int32_t>(given.trace->requests.size() / 2));
  const std::int64_t step =
      std::clamp<std::int64_t>(settings.decode_step, 0, std::max<std::int64_t>(0, batch.steps - 1));
  PrefixForest forest = traces::batch_at_step(*given.trace, schedule, options, step);
  if (given.page_size > 1) forest = traces::floor_to_pages(forest, given.page_size);
  batch.forest = std::make_shared<const PrefixForest>(std::move(forest));
  return batch;
}

std::shared_ptr<const PrefixForest> whole_batch(const Settings& settings, const Given& given) {
  if (settings.family.empty()) {
    if (given.forests.empty()) throw core::usage_error("no batch: choose a family or open a file");
    return given.forests[std::min(given.forests.size() - 1, static_cast<std::size_t>(settings.snapshot))];
  }
  PrefixForest made = traces::generate_family(family_spec(settings), settings.seed);
  made.name = family_spec(settings);
  return std::make_shared<const PrefixForest>(std::move(made));
}

}  // namespace

std::string family_spec(const Settings& settings) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : settings.family_options) parts.push_back(fmt::format("{}={}", name, value));
  return parts.empty() ? settings.family : settings.family + ":" + core::join(parts, ",");
}

bool replays_trace(const Settings& settings, const Given& given) {
  return settings.family.empty() && given.trace != nullptr;
}

Batch batch_of(const Settings& settings, const Given& given) {
  if (replays_trace(settings, given)) return replayed(settings, given);
  Batch batch;
  batch.forest = whole_batch(settings, given);
  batch.most_running = static_cast<std::int32_t>(batch.forest->request_count());
  if (batch.most_running == 0) throw core::bad_input(batch.forest->name, "at least one request", "none");
  if (settings.running > 0 && settings.running < batch.most_running) {
    batch.forest = std::make_shared<const PrefixForest>(smaller(*batch.forest, settings.running));
  }
  if (settings.decode_step > 0) {
    batch.forest = std::make_shared<const PrefixForest>(decoded(*batch.forest, settings.decode_step));
  }
  return batch;
}

}  // namespace espalier::viz
