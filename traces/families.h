// Generated forests: one file a family in traces/families/, one line each in the table of families.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "traces/prefix_forest.h"

namespace espalier::traces {

struct FamilyOption {
  std::string_view name;
  double fallback;  ///< default
  double low, high;
  std::string_view meaning;
};

using FamilyOptions = std::map<std::string, double, std::less<>>;

struct Family {
  std::string_view name;
  std::string_view summary;        ///< one line: structure and expected dedupe
  std::vector<FamilyOption> options;
  /// All options present and in range; deterministic in (options, seed).
  PrefixForest (*generate)(const FamilyOptions& options, std::uint64_t seed);
};

const std::vector<Family>& families();

/// "doc_qa", "doc_qa:docs=4,questions=16". Throws Error (usage) for an unknown family or option (nearest name suggested), a value out of range,
/// or a fraction where a whole number is meant.
PrefixForest generate_family(std::string_view spec, std::uint64_t seed);

}  // namespace espalier::traces
