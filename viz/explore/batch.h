// The batch that settings speak of: generated, from a file, or a step of a trace's replay; fewer of its requests, some
// tokens later.
#pragma once

#include <memory>

#include "viz/explore/settings.h"

namespace espalier::viz {

struct Batch {
  std::shared_ptr<const traces::PrefixForest> forest;
  std::int32_t most_running = 0;  ///< requests that could be asked for
  std::int64_t steps = 0;         ///< of the trace's replay; 0: no trace
};
/// Throws Error with a sentence where there is none.
Batch batch_of(const Settings& settings, const Given& given);

/// "few_shot:blocks=6".
std::string family_spec(const Settings& settings);
/// Whether batches are steps of a trace.
bool replays_trace(const Settings& settings, const Given& given);

}  // namespace espalier::viz
