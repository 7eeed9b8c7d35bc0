// See building.h.
#include "traces/families/building.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace espalier::traces {

double real_option(const FamilyOptions& options, std::string_view name) {
  const auto found = options.find(name);
  ESPALIER_CHECK(found != options.end());
  return found->second;
}

std::int64_t whole_option(const FamilyOptions& options, std::string_view name) {
  return static_cast<std::int64_t>(real_option(options, name));
}

std::int64_t add_node(ForestSource& source, std::int64_t parent, std::int64_t tokens) {
  source.parent.push_back(parent);
  source.tokens.push_back(tokens);
  return static_cast<std::int64_t>(source.parent.size()) - 1;
}

void add_tail(ForestSource& source, std::int64_t parent, std::int64_t tokens) {
  source.leaf.push_back(add_node(source, parent, tokens));
}

std::int64_t draw_length(core::Rng& rng, const LengthRange& range) {
  const std::int64_t low = std::max<std::int64_t>(range.low, 1);
  return std::clamp(rng.log_normal(range.median, range.sigma), low, std::max(low, range.high));
}

std::int64_t draw_uniform(core::Rng& rng, double share, std::int64_t longest) {
  if (longest == 0) return 0;
  const auto low = static_cast<std::int64_t>(std::round(share * static_cast<double>(longest)));
  return rng.integer(std::max<std::int64_t>(low, 1), longest);
}

std::int64_t draw_generated(core::Rng& rng, std::int64_t output) { return output == 0 ? 0 : rng.integer(1, output); }

ZipfTable::ZipfTable(std::int64_t ranks, double exponent) {
  ESPALIER_CHECK_OP(ranks, >=, std::int64_t{1});
  cumulative_.reserve(static_cast<std::size_t>(ranks));
  double sum = 0;
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    sum += std::pow(static_cast<double>(rank + 1), -exponent);
    cumulative_.push_back(sum);
  }
}

std::int64_t ZipfTable::draw(core::Rng& rng) const {
  const double at = rng.uniform() * cumulative_.back();
  const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), at);
  // The product may round up to the last sum itself.
  return std::min<std::int64_t>(found - cumulative_.begin(), ranks() - 1);
}

std::int64_t descend(SegmentTrie& trie, std::int64_t parent, std::int64_t segment, std::int64_t tokens) {
  const auto [at, fresh] = trie.children.try_emplace({parent, segment}, 0);
  if (fresh) at->second = add_node(trie.source, parent, tokens);
  return at->second;
}

void contract_chains(ForestSource& source) {
  const std::size_t n = source.parent.size();
  std::vector<char> read(n, 0), ends(n, 0);
  std::vector<std::int64_t> read_children(n, 0);
  for (const std::int64_t leaf : source.leaf) {
    read[static_cast<std::size_t>(leaf)] = ends[static_cast<std::size_t>(leaf)] = 1;
  }
  for (std::size_t i = n; i-- > 0;) {
    if (read[i] == 0 || source.parent[i] == kNoParent) continue;
    const auto parent = static_cast<std::size_t>(source.parent[i]);
    ESPALIER_CHECK_OP(parent, <, i);
    read[parent] = 1;
    ++read_children[parent];
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (read[i] == 0 || source.parent[i] == kNoParent) continue;
    const auto parent = static_cast<std::size_t>(source.parent[i]);
    if (ends[parent] != 0 || read_children[parent] != 1) continue;
    source.tokens[i] += source.tokens[parent];
    source.tokens[parent] = 0;
  }
}

void check_node_budget(std::string_view family, std::int64_t nodes) {
  if (nodes <= kMaxGeneratedNodes) return;
  throw core::usage_error(
      fmt::format("family {}: expected options that make at most {} nodes, got more", family, kMaxGeneratedNodes));
}

}  // namespace espalier::traces
