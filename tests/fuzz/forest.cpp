#include "fuzz.h"
#include "traces/import.h"
#include "traces/statistics.h"

ESPALIER_FUZZ(text) {
  for (const auto& forest : espalier::traces::read_forests(text, "fuzz", std::nullopt)) {
    espalier::traces::check_forest(forest);
    if (forest.request_count() > 0) (void)espalier::traces::describe(forest, {}, 16);
  }
}
