// Replay of request traces into the forests of the *running* batch.
//
// Prefix reuse over time isn't sharing within a batch: the replay therefore decodes one token a step, refills slots at
// once (a saturated server), makes a request wait for its previous turn, and samples the set that runs at the same
// time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "traces/prefix_forest.h"

namespace espalier::traces {

/// One request of a Mooncake trace.
struct TraceRequest {
  double timestamp_ms = 0;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  std::vector<std::int64_t>
      blocks;  ///< prefix-block ids, `block_tokens` each, ceil(input / block_tokens) of them, last partial
};

struct Trace {
  std::string name;
  std::int64_t block_tokens = 512;
  std::vector<TraceRequest> requests;  ///< in arrival order
};

/// Mooncake JSON lines (timestamp, input_length, output_length, hash_ids; other keys are let through), put in order of
/// arrival. Throws on a wrong number of blocks or an id under two different parents (ids name whole prefixes).
Trace read_mooncake(std::string_view text, const std::string& file);

enum class Order { arrival, prefix };  ///< prefix: an offline batch, sorted by block ids within windows
enum class Routing {
  random,
  cache_aware
};  ///< cache_aware: the instance that holds the longest common prefix, if not overloaded

struct ReplayOptions {
  std::int32_t running = 64;  ///< slots of each instance
  Order order = Order::arrival;
  std::int64_t sort_window = 4096;  ///< arrivals sorted together when order is prefix; 0: the whole trace
  std::int32_t instances = 1;
  Routing routing = Routing::random;
  std::int32_t samples = 8;   ///< snapshots taken, evenly spaced over the steady part
  std::int32_t instance = 0;  ///< whose batch is sampled
  /// A request whose prompt continues another's waits for it to end. Arrival order only: an offline batch has all its
  /// prompts from the start, and prefix order is there to run the related ones together.
  bool wait_for_previous_turn = true;
  std::uint64_t seed = 1;
};

/// When a request of the trace ran, and where.
struct ReplaySpan {
  std::int64_t begin = 0, end = 0;  ///< decode steps [begin, end)
  std::int32_t instance = -1;
};
/// A whole replay: who ran when, and the steps in which every slot of the sampled instance is taken and has been
/// refilled once on average.
struct ReplaySchedule {
  std::vector<ReplaySpan> spans;  ///< of the trace's requests
  std::int64_t begin = 0, end = 0;
  std::int64_t steps() const { return end - begin; }
};
/// Throws as replay() does.
ReplaySchedule schedule_replay(const Trace& trace, const ReplayOptions& options);
/// The batch that runs in a step of the steady part, counted from its beginning; 0 <= step < schedule.steps().
PrefixForest batch_at_step(const Trace& trace, const ReplaySchedule& schedule, const ReplayOptions& options,
                           std::int64_t step);

/// Snapshots of the running batch. Throws Error (usage) on options out of range, Error (bad input) when the trace is
/// too short to fill the slots once.
std::vector<PrefixForest> replay(const Trace& trace, const ReplayOptions& options);

}  // namespace espalier::traces
