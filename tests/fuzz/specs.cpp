// The small languages of the command line: trees, families, heads, strategies.
#include "fuzz.h"
#include "scheduler/strategy.h"
#include "traces/import.h"

ESPALIER_FUZZ(text) {
  if (text.empty()) return;
  const auto rest = text.substr(1);
  switch (text.front()) {
    case 't':
      (void)espalier::traces::parse_tree(rest);
      break;
    case 'h':
      (void)espalier::traces::parse_heads(rest);
      break;
    case 's':
      (void)espalier::scheduler::parse_strategy(rest);
      break;
    default:
      break;
  }
}
