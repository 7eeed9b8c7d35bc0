// The table of generated families, and the parser of "family:option=value,…".
#include "traces/families.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/text.h"

namespace espalier::traces {

// A new family is one file in traces/families/ that defines `Family <name>_family()`, and one line here.
#define ESPALIER_FAMILIES(row)                                                                               \
  row(doc_qa) row(few_shot) row(chat) row(chat_offline) row(tool_agent) row(coding_agent) row(rag) row(tot)  \
      row(bfs_search) row(beam) row(best_of_n) row(spec_tree) row(kary) row(chain) row(random) row(no_share) \
          row(one_hot)

#define ESPALIER_DECLARE_FAMILY(name) Family name##_family();
ESPALIER_FAMILIES(ESPALIER_DECLARE_FAMILY)
#undef ESPALIER_DECLARE_FAMILY

const std::vector<Family>& families() {
#define ESPALIER_LIST_FAMILY(name) name##_family(),
  static const std::vector<Family> table = {ESPALIER_FAMILIES(ESPALIER_LIST_FAMILY)};
#undef ESPALIER_LIST_FAMILY
  return table;
}

namespace {

const Family& family_of(std::string_view name) {
  std::vector<std::string> names;
  for (const Family& family : families()) {
    if (family.name == name) return family;
    names.emplace_back(family.name);
  }
  throw core::usage_error(core::unknown_name("family", name, names));
}

const FamilyOption& option_of(const Family& family, std::string_view name) {
  std::vector<std::string> names;
  for (const FamilyOption& option : family.options) {
    if (option.name == name) return option;
    names.emplace_back(option.name);
  }
  throw core::usage_error(core::unknown_name(fmt::format("option of family {}", family.name), name, names));
}

std::string expected_text(const FamilyOption& option) {
  if (!option.choices.empty()) {
    return fmt::format("one of {}", core::join({option.choices.begin(), option.choices.end()}, ", "));
  }
  if (option.kind == OptionKind::whole) {
    return fmt::format("a whole number from {:.0f} to {:.0f}", option.low, option.high);
  }
  return fmt::format("a number from {} to {}", option.low, option.high);
}

double option_value(const Family& family, const FamilyOption& option, std::string_view text) {
  const auto choice = std::find(option.choices.begin(), option.choices.end(), text);
  if (choice != option.choices.end()) return option.low + static_cast<double>(choice - option.choices.begin());
  const std::optional<double> value = core::parse_number(text);
  const bool fits = value && *value >= option.low && *value <= option.high &&
                    (option.kind == OptionKind::real || *value == std::floor(*value));
  if (!fits) {
    throw core::usage_error(fmt::format("family {}, option {}: expected {}, got '{}'", family.name, option.name,
                                        expected_text(option), text));
  }
  return *value;
}

FamilyOptions parse_options(const Family& family, std::string_view text) {
  FamilyOptions options;
  for (const std::string& part : core::split(text, ',')) {
    const std::size_t equals = part.find('=');
    if (equals == std::string::npos) {
      throw core::usage_error(fmt::format("family {}: expected option=value, got '{}'", family.name, part));
    }
    const std::string_view view = part;
    const FamilyOption& option = option_of(family, view.substr(0, equals));
    const double value = option_value(family, option, view.substr(equals + 1));
    if (!options.emplace(option.name, value).second) {
      throw core::usage_error(fmt::format("family {}: option {} is given twice", family.name, option.name));
    }
  }
  return options;
}

}  // namespace

PrefixForest generate_family(std::string_view spec, std::uint64_t seed) {
  const std::size_t colon = spec.find(':');
  const Family& family = family_of(spec.substr(0, colon));
  FamilyOptions options;
  if (colon != std::string_view::npos) options = parse_options(family, spec.substr(colon + 1));
  for (const FamilyOption& option : family.options) options.emplace(option.name, option.fallback);
  PrefixForest forest = family.generate(options, seed);
  forest.name = fmt::format("{}@{}", spec, seed);
  return forest;
}

}  // namespace espalier::traces
