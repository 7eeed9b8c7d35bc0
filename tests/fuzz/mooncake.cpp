#include "fuzz.h"
#include "traces/replay.h"

ESPALIER_FUZZ(text) {
  const auto trace = espalier::traces::read_mooncake(text, "fuzz");
  espalier::traces::ReplayOptions options;
  options.running = 2;
  options.samples = 2;
  for (const auto& forest : espalier::traces::replay(trace, options)) espalier::traces::check_forest(forest);
}
