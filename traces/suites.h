// Named suites of inputs: the benchmark shapes of published kernels, generated, in a table of suites.cpp.
//
// A suite is fixed: it takes neither a seed nor files, so that its name says which inputs were meant.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "traces/prefix_forest.h"

namespace espalier::traces {

struct SuiteItem {
  std::string label;  ///< "03"; empty in a suite of one
  std::string
      spec;  ///< what it is: tree notation, family with options, "caterpillar:spine,segment,leaf" or "ragged:index"
};

struct Suite {
  std::string name;
  std::string summary;  ///< whose benchmark, and what is approximated
  std::vector<SuiteItem> items;
  bool shuffled = false;  ///< requests stand in the batch in random order, as in the benchmark it follows
};

const std::vector<Suite>& suites();

/// Forest `index` of the suite ragged40, which has seed 1: even ones small (to 12 nodes), odd ones medium (to 120).
inline constexpr std::int64_t kRaggedForests = 40;
PrefixForest ragged_forest(std::uint64_t seed, std::int64_t index);

/// "pat20/03", or the suite's name alone where it has one item.
std::string item_name(const Suite& suite, const SuiteItem& item);
/// Named like the item.
PrefixForest make_item(const Suite& suite, const SuiteItem& item);

/// "pat20" (all of its items, in order) or "pat20/03" (one). Throws Error (usage) for an unknown name, the nearest
/// suggested.
std::vector<PrefixForest> make_suite(std::string_view name);

}  // namespace espalier::traces
