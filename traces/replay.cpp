// Replay of a trace on saturated instances, jumping from one finished request to the next.
//
// The schedule (who runs where from which step to which) is made first and sampled after, so that a sample costs a look
// at each request and nothing is done per token.
#include "traces/replay.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <queue>
#include <unordered_map>

#include "core/error.h"
#include "core/rng.h"
#include "traces/path_trie.h"

namespace espalier::traces {
namespace {

/// Requests dispatched to an instance after which a block counts as evicted there.
constexpr std::int32_t kRememberedRequests = 1000;

using Index = std::int32_t;  ///< request of the trace, in arrival order

using Span = ReplaySpan;

/// The earlier turn each request goes on from, -1 if none. A next turn holds all full blocks of the earlier prompt and
/// is longer than that prompt and its answer; since ids name whole prefixes, the id of the last full block is enough to
/// find it. Prompts of one block are left out: what they share is a system prompt.
std::vector<Index> previous_turns(const Trace& trace) {
  std::vector<Index> previous(trace.requests.size(), -1);
  std::unordered_map<std::int64_t, Index> latest;  // last full block -> latest request that ends with it
  for (std::size_t r = 0; r < trace.requests.size(); ++r) {
    const TraceRequest& request = trace.requests[r];
    const auto full = static_cast<std::size_t>(request.input_tokens / trace.block_tokens);
    for (std::size_t depth = full; depth > 1 && previous[r] < 0; --depth) {
      const auto found = latest.find(request.blocks[depth - 1]);
      if (found == latest.end()) continue;
      const TraceRequest& earlier = trace.requests[static_cast<std::size_t>(found->second)];
      if (request.input_tokens >= earlier.input_tokens + earlier.output_tokens) previous[r] = found->second;
    }
    if (full > 1) latest[request.blocks[full - 1]] = static_cast<Index>(r);
  }
  return previous;
}

/// Requests in the order in which they are offered to the instances.
std::vector<Index> offered_order(const Trace& trace, const ReplayOptions& options) {
  std::vector<Index> order(trace.requests.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<Index>(i);
  if (options.order == Order::arrival) return order;
  const auto by_prefix = [&](Index a, Index b) {
    const auto& x = trace.requests[static_cast<std::size_t>(a)].blocks;
    const auto& y = trace.requests[static_cast<std::size_t>(b)].blocks;
    return x != y ? x < y : a < b;
  };
  const auto window = options.sort_window == 0 ? static_cast<std::ptrdiff_t>(order.size())
                                               : static_cast<std::ptrdiff_t>(options.sort_window);
  for (auto begin = order.begin(); begin != order.end();) {
    const auto end = begin + std::min(window, order.end() - begin);
    std::sort(begin, end, by_prefix);
    begin = end;
  }
  return order;
}

/// Which instance a request goes to.
class Router {
 public:
  Router(const Trace& trace, const ReplayOptions& options)
      : trace_(trace), options_(options), rng_(options.seed), served_(static_cast<std::size_t>(options.instances)),
        dispatched_(static_cast<std::size_t>(options.instances), 0) {}

  std::int32_t pick(Index request, const std::vector<std::int32_t>& load) {
    if (options_.instances == 1) return 0;
    if (options_.routing == Routing::random) return static_cast<std::int32_t>(rng_.integer(0, options_.instances - 1));
    const auto& blocks = trace_.requests[static_cast<std::size_t>(request)].blocks;
    const std::int32_t least = *std::min_element(load.begin(), load.end());
    const std::int32_t slack = std::max(2, options_.running / 8);
    std::size_t best = 0, best_held = 0;
    for (std::size_t i = 0; i < load.size(); ++i) {
      if (load[i] > least + slack) continue;
      const std::size_t held = held_prefix(i, blocks);
      if (i == 0 || load[best] > least + slack || held > best_held || (held == best_held && load[i] < load[best])) {
        best = i;
        best_held = held;
      }
    }
    for (const std::int64_t block : blocks) served_[best][block] = dispatched_[best];
    ++dispatched_[best];
    return static_cast<std::int32_t>(best);
  }

 private:
  /// Blocks at the front of a prompt that the instance still holds. A block is as fresh as the freshest below it, so
  /// that the held ones are a prefix and can be found by halving.
  std::size_t held_prefix(std::size_t instance, const std::vector<std::int64_t>& blocks) const {
    const auto held = [&](std::int64_t block) {
      const auto found = served_[instance].find(block);
      return found != served_[instance].end() && dispatched_[instance] - found->second <= kRememberedRequests;
    };
    return static_cast<std::size_t>(std::partition_point(blocks.begin(), blocks.end(), held) - blocks.begin());
  }

  const Trace& trace_;
  const ReplayOptions& options_;
  core::Rng rng_;
  std::vector<std::unordered_map<std::int64_t, std::int32_t>> served_;  // block -> dispatch that last used it
  std::vector<std::int32_t> dispatched_;
};

/// Saturated instances: whenever fewer requests are out than the slots and a short queue hold, the next ready one is
/// dispatched.
class Scheduler {
 public:
  Scheduler(const Trace& trace, const ReplayOptions& options)
      : trace_(trace), options_(options), router_(trace, options), order_(offered_order(trace, options)),
        position_(order_.size()), waiting_(order_.size()), blocked_(order_.size(), 0), spans_(order_.size()),
        queue_(static_cast<std::size_t>(options.instances)), running_(static_cast<std::size_t>(options.instances), 0),
        load_(static_cast<std::size_t>(options.instances), 0) {
    for (std::size_t at = 0; at < order_.size(); ++at) position_[static_cast<std::size_t>(order_[at])] = at;
    if (!options.wait_for_previous_turn || options.order == Order::prefix) return;
    const auto previous = previous_turns(trace);
    for (std::size_t r = 0; r < previous.size(); ++r) {
      if (previous[r] < 0) continue;
      waiting_[static_cast<std::size_t>(previous[r])].push_back(static_cast<Index>(r));
      blocked_[r] = 1;
    }
  }

  std::vector<Span> run() {
    dispatch(0);
    while (!finishes_.empty()) {
      const std::int64_t now = finishes_.top().first;
      // All that finish in this step leave before anyone is refilled, so that ties don't favour an instance.
      while (!finishes_.empty() && finishes_.top().first == now) {
        finish(finishes_.top().second);
        finishes_.pop();
      }
      for (std::size_t i = 0; i < queue_.size(); ++i) start(i, now);
      dispatch(now);
    }
    return std::move(spans_);
  }

 private:
  using Event = std::pair<std::int64_t, Index>;  ///< step at which the request has ended

  void finish(Index request) {
    const auto r = static_cast<std::size_t>(request);
    const auto instance = static_cast<std::size_t>(spans_[r].instance);
    --running_[instance];
    --load_[instance];
    --out_;
    for (const Index next : waiting_[r]) {
      blocked_[static_cast<std::size_t>(next)] = 0;
      // Those that the cursor hasn't reached yet come up in their own place.
      if (position_[static_cast<std::size_t>(next)] < cursor_) {
        released_.push(position_[static_cast<std::size_t>(next)]);
      }
    }
  }

  Index next_ready() {
    while (cursor_ < order_.size() && blocked_[static_cast<std::size_t>(order_[cursor_])] != 0) ++cursor_;
    if (!released_.empty() && (cursor_ == order_.size() || released_.top() < cursor_)) {
      const Index request = order_[released_.top()];
      released_.pop();
      return request;
    }
    return cursor_ < order_.size() ? order_[cursor_++] : -1;
  }

  void dispatch(std::int64_t now) {
    // One instance needs no queue: the next in order goes straight to the free slot.
    const std::int64_t slots = std::int64_t{options_.instances} * options_.running;
    const std::int64_t limit = options_.instances == 1 ? slots : slots + slots / 4 + 1;
    while (out_ < limit) {
      const Index request = next_ready();
      if (request < 0) return;
      const auto instance = static_cast<std::size_t>(router_.pick(request, load_));
      ++load_[instance];
      ++out_;
      spans_[static_cast<std::size_t>(request)].instance = static_cast<std::int32_t>(instance);
      queue_[instance].push(request);
      start(instance, now);
    }
  }

  void start(std::size_t instance, std::int64_t now) {
    while (running_[instance] < options_.running && !queue_[instance].empty()) {
      const Index request = queue_[instance].front();
      queue_[instance].pop();
      ++running_[instance];
      Span& span = spans_[static_cast<std::size_t>(request)];
      span.begin = now;
      // The token that prefill gives is the first; a request without output still takes its slot for that one step.
      span.end = now + std::max<std::int64_t>(1, trace_.requests[static_cast<std::size_t>(request)].output_tokens);
      finishes_.push({span.end, request});
    }
  }

  const Trace& trace_;
  const ReplayOptions& options_;
  Router router_;
  std::vector<Index> order_;
  std::vector<std::size_t> position_;        ///< of each request in the order
  std::vector<std::vector<Index>> waiting_;  ///< next turns of each request
  std::vector<char> blocked_;
  std::vector<Span> spans_;
  std::vector<std::queue<Index>> queue_;
  std::vector<std::int32_t> running_, load_;  ///< a load counts those that queue as well
  std::int64_t out_ = 0;
  std::size_t cursor_ = 0;
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> released_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> finishes_;
};

/// Steps between which the sampled instance is steady: every slot has been refilled once on average, and all are taken.
struct SteadyPart {
  std::int64_t begin = 0, end = 0;
};

SteadyPart steady_part(const std::vector<Span>& spans, const ReplayOptions& options, const std::string& trace_name) {
  std::vector<std::pair<std::int64_t, std::int32_t>> changes;  // step, +1 or -1; ends sort before begins
  std::vector<std::int64_t> ends;
  for (const Span& span : spans) {
    if (span.instance != options.instance) continue;
    changes.emplace_back(span.begin, 1);
    changes.emplace_back(span.end, -1);
    ends.push_back(span.end);
  }
  std::sort(changes.begin(), changes.end());
  std::int64_t running = 0, most = 0, first_full = -1, last_full = -1;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    running += changes[i].second;
    const bool step_done = i + 1 == changes.size() || changes[i + 1].first != changes[i].first;
    if (step_done) most = std::max(most, running);
    if (!step_done || running < options.running) continue;
    if (first_full < 0) first_full = changes[i].first;
    last_full = changes[i + 1].first;  // there is a next change: all that run will end
  }
  if (first_full < 0) {
    throw core::bad_input(trace_name, fmt::format("enough requests to fill {} slots", options.running),
                          fmt::format("at most {} that run at once in instance {}", most, options.instance));
  }
  const auto turnover = ends.begin() + (options.running - 1);
  std::nth_element(ends.begin(), turnover, ends.end());
  return {*turnover < last_full ? std::max(*turnover, first_full) : first_full, last_full};
}

/// The batch that runs in one step. Prompts share by block; what has been generated is private.
PrefixForest batch_at(const Trace& trace, const std::vector<Span>& spans, std::int32_t instance, std::int64_t step) {
  RequestPaths paths;
  paths.unit_tokens = trace.block_tokens;
  std::vector<std::int64_t> generated;
  std::vector<std::string> label;
  for (std::size_t r = 0; r < spans.size(); ++r) {
    if (spans[r].instance != instance || step < spans[r].begin || step >= spans[r].end) continue;
    const TraceRequest& request = trace.requests[r];
    paths.ids.insert(paths.ids.end(), request.blocks.begin(), request.blocks.end());
    paths.begin.push_back(paths.ids.size());
    paths.tokens.push_back(request.input_tokens);
    generated.push_back(std::min(step - spans[r].begin + 1, request.output_tokens));
    label.push_back(std::to_string(r));
  }
  ForestSource source = forest_of_paths(paths).source;
  std::vector<std::int32_t> uses(source.parent.size(), 0);  // children and requests of each node
  for (const std::int64_t parent : source.parent) {
    if (parent >= 0) ++uses[static_cast<std::size_t>(parent)];
  }
  for (const std::int64_t leaf : source.leaf) ++uses[static_cast<std::size_t>(leaf)];
  for (std::size_t r = 0; r < source.leaf.size(); ++r) {
    const auto end = static_cast<std::size_t>(source.leaf[r]);
    if (uses[end] == 1) {
      source.tokens[end] += generated[r];
    } else if (generated[r] > 0) {
      source.parent.push_back(source.leaf[r]);
      source.tokens.push_back(generated[r]);
      source.leaf[r] = static_cast<std::int64_t>(source.parent.size()) - 1;
    }
  }
  source.request_label = std::move(label);
  source.name = trace.name;
  return make_forest(source);
}

void check_option(std::int64_t value, std::int64_t low, std::int64_t high, std::string_view name) {
  if (value < low || value > high) {
    throw core::usage_error(
        fmt::format("replay: {}: expected an integer from {} to {}, got {}", name, low, high, value));
  }
}

}  // namespace

ReplaySchedule schedule_replay(const Trace& trace, const ReplayOptions& options) {
  check_option(options.running, 1, 1 << 20, "running");
  check_option(options.sort_window, 0, std::int64_t{1} << 40, "sort window");
  check_option(options.instances, 1, 1024, "instances");
  check_option(options.instance, 0, options.instances - 1, "instance");
  check_option(options.samples, 1, 1 << 16, "samples");
  if (trace.requests.size() < static_cast<std::size_t>(options.running)) {
    throw core::bad_input(trace.name, fmt::format("at least {} requests, one a slot", options.running),
                          std::to_string(trace.requests.size()));
  }
  ReplaySchedule schedule;
  schedule.spans = Scheduler(trace, options).run();
  const SteadyPart steady = steady_part(schedule.spans, options, trace.name);
  schedule.begin = steady.begin;
  schedule.end = steady.end;
  return schedule;
}

namespace {

std::string replay_name(const Trace& trace, const ReplayOptions& options) {
  return fmt::format("{} {} c{}", trace.name, options.order == Order::arrival ? "arrival" : "prefix", options.running);
}

}  // namespace

PrefixForest batch_at_step(const Trace& trace, const ReplaySchedule& schedule, const ReplayOptions& options,
                           std::int64_t step) {
  PrefixForest batch = batch_at(trace, schedule.spans, options.instance, schedule.begin + step);
  batch.name = fmt::format("{} step {}", replay_name(trace, options), step);
  return batch;
}

std::vector<PrefixForest> replay(const Trace& trace, const ReplayOptions& options) {
  const ReplaySchedule schedule = schedule_replay(trace, options);
  std::vector<PrefixForest> batches;
  for (std::int32_t s = 0; s < options.samples; ++s) {
    // Middles of equal parts of the steady time.
    batches.push_back(batch_at_step(trace, schedule, options, schedule.steps() * (2 * s + 1) / (2 * options.samples)));
    batches.back().name = fmt::format("{}#{}", replay_name(trace, options), s);
  }
  return batches;
}

}  // namespace espalier::traces
