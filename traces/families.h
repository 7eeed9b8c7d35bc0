// Generated forests: one file a family in traces/families/, one line each in the table of families.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "traces/prefix_forest.h"

namespace espalier::traces {

enum class OptionKind : std::uint8_t { whole, real };

struct FamilyOption {
  std::string_view name;
  double fallback;  ///< default
  double low, high;
  std::string_view meaning;
  OptionKind kind = OptionKind::whole;
  std::vector<std::string_view> choices = {};  ///< names of the values low, low + 1, …; a spec may give either
};

/// Largest forest a family makes: far above any running batch, small enough to refuse a typing error at once.
inline constexpr std::int64_t kMaxGeneratedNodes = 1'000'000;

using FamilyOptions = std::map<std::string, double, std::less<>>;

struct Family {
  std::string_view name;
  std::string_view summary;  ///< one line: structure and expected dedupe
  std::vector<FamilyOption> options;
  /// All options present and in range; deterministic in (options, seed).
  PrefixForest (*generate)(const FamilyOptions& options, std::uint64_t seed);
};

const std::vector<Family>& families();

/// "doc_qa", "doc_qa:docs=4,questions=16", "rag:layout=hoisted". Throws Error (usage) for an unknown family or option
/// (nearest name suggested), a value out of range, a fraction where a whole number is meant, or a combination that
/// makes more than kMaxGeneratedNodes. The forest's name is "spec@seed".
PrefixForest generate_family(std::string_view spec, std::uint64_t seed);

}  // namespace espalier::traces
