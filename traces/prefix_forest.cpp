// Building and measuring prefix forests. Everything is linear in nodes and requests and free of recursion: real token
// trees are small, but chains of thousands of levels and a million nodes are legal input.
#include "traces/prefix_forest.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/hash.h"
#include "core/units.h"
#include "traces/path_trie.h"

namespace espalier::traces {
namespace {

using Index = std::int32_t;  ///< row of the source; kMaxNodes keeps it in range

std::string element(const ForestSource& source, std::string_view column, std::size_t i) {
  return fmt::format("{}: {}[{}]", source.name, column, i);
}

void check_source(const ForestSource& source) {
  const std::size_t n = source.parent.size();
  if (n > static_cast<std::size_t>(kMaxNodes)) {
    throw core::bad_input(source.name + ": parent", fmt::format("at most {} nodes", kMaxNodes), std::to_string(n));
  }
  if (source.tokens.size() != n) {
    throw core::bad_input(source.name + ": tokens", fmt::format("{} elements, one a node as in parent", n),
                          std::to_string(source.tokens.size()));
  }
  if (source.leaf.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw core::bad_input(source.name + ": leaf", "fewer than 2^31 requests", std::to_string(source.leaf.size()));
  }
  if (!source.request_label.empty() && source.request_label.size() != source.leaf.size()) {
    throw core::bad_input(source.name + ": request_label",
                          fmt::format("{} elements, one a request", source.leaf.size()),
                          std::to_string(source.request_label.size()));
  }
  if (!source.batch_position.empty() && !is_permutation_of_rows(source.batch_position, source.leaf.size())) {
    throw core::bad_input(source.name + ": batch_position",
                          fmt::format("a permutation of the {} requests", source.leaf.size()), "another list");
  }
  if (source.page_size < 1 || source.page_size > kMaxPageSize) {
    throw core::bad_input(source.name + ": page_size", fmt::format("an integer from 1 to {}", kMaxPageSize),
                          std::to_string(source.page_size));
  }
  const auto count = static_cast<std::int64_t>(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (source.parent[i] < -1 || source.parent[i] >= count) {
      throw core::bad_input(element(source, "parent", i), fmt::format("a node from 0 to {} or -1", count - 1),
                            std::to_string(source.parent[i]));
    }
    if (source.tokens[i] < 0 || source.tokens[i] > kMaxNodeTokens) {
      throw core::bad_input(element(source, "tokens", i), fmt::format("an integer from 0 to {}", kMaxNodeTokens),
                            std::to_string(source.tokens[i]));
    }
  }
  for (std::size_t r = 0; r < source.leaf.size(); ++r) {
    if (source.leaf[r] < 0 || source.leaf[r] >= count) {
      throw core::bad_input(element(source, "leaf", r),
                            n == 0 ? "a node, but there are none" : fmt::format("a node from 0 to {}", count - 1),
                            std::to_string(source.leaf[r]));
    }
  }
}

[[noreturn]] void fail_cycle(const ForestSource& source, const std::vector<char>& reached) {
  auto i = static_cast<std::size_t>(std::find(reached.begin(), reached.end(), 0) - reached.begin());
  // The first unreached node may only hang below the cycle; n steps upwards end inside it.
  for (std::size_t step = 0; step < reached.size(); ++step) i = static_cast<std::size_t>(source.parent[i]);
  throw core::bad_input(element(source, "parent", i), "a path that leads to a root",
                        fmt::format("a cycle through node {}", source.parent[i]));
}

/// Depth-first preorder of the source's rows, children in the source's order.
std::vector<Index> preorder(const ForestSource& source) {
  const std::size_t n = source.parent.size();
  // Children of row p stand at [begin[p + 1], begin[p + 2]) of `child`, the roots (p = -1) in front.
  const auto slot_of = [&](std::size_t i) { return static_cast<std::size_t>(source.parent[i] + 1); };
  std::vector<Index> begin(n + 2, 0), child(n), order, stack;
  for (std::size_t i = 0; i < n; ++i) ++begin[slot_of(i) + 1];
  for (std::size_t slot = 0; slot <= n; ++slot) begin[slot + 1] += begin[slot];
  std::vector<Index> next(begin.begin(), begin.end() - 1);
  for (std::size_t i = 0; i < n; ++i) child[static_cast<std::size_t>(next[slot_of(i)]++)] = static_cast<Index>(i);
  const auto push = [&](std::size_t slot) {
    for (Index at = begin[slot + 1]; at > begin[slot]; --at) stack.push_back(child[static_cast<std::size_t>(at - 1)]);
  };
  order.reserve(n);
  std::vector<char> reached(n, 0);
  push(0);
  while (!stack.empty()) {
    const Index i = stack.back();
    stack.pop_back();
    order.push_back(i);
    reached[static_cast<std::size_t>(i)] = 1;
    push(static_cast<std::size_t>(i) + 1);
  }
  if (order.size() != n) fail_cycle(source, reached);
  return order;
}

/// Requests grouped by the node they end at once empty nodes are gone.
struct Ends {
  std::vector<Index> holder;   ///< nearest row with tokens at or above each row, -1 if none
  std::vector<Index> begin;    ///< requests of row i: [begin[i], begin[i + 1]) of `request`
  std::vector<Index> request;  ///< in the source's order within a row
};

Ends ends_of(const ForestSource& source, const std::vector<Index>& order) {
  const std::size_t n = source.parent.size();
  Ends ends{std::vector<Index>(n), std::vector<Index>(n + 1, 0), std::vector<Index>(source.leaf.size())};
  for (const Index row : order) {
    const auto i = static_cast<std::size_t>(row);
    const std::int64_t p = source.parent[i];
    ends.holder[i] = source.tokens[i] > 0 ? row : p < 0 ? -1 : ends.holder[static_cast<std::size_t>(p)];
  }
  for (std::size_t r = 0; r < source.leaf.size(); ++r) {
    const Index h = ends.holder[static_cast<std::size_t>(source.leaf[r])];
    if (h < 0) throw core::bad_input(element(source, "leaf", r), "a path of at least one token", "an empty path");
    ++ends.begin[static_cast<std::size_t>(h) + 1];
  }
  for (std::size_t i = 0; i < n; ++i) ends.begin[i + 1] += ends.begin[i];
  std::vector<Index> next(ends.begin.begin(), ends.begin.end() - 1);
  for (std::size_t r = 0; r < source.leaf.size(); ++r) {
    const auto h = static_cast<std::size_t>(ends.holder[static_cast<std::size_t>(source.leaf[r])]);
    ends.request[static_cast<std::size_t>(next[h]++)] = static_cast<Index>(r);
  }
  return ends;
}

void lay_out_pages(PrefixForest& forest, std::int32_t page_size) {
  forest.pages.page_size = page_size;
  forest.pages.first_offset = core::Column<NodeId, std::int32_t>(forest.node_count());
  forest.pages.first_page.reserve(forest.node_count());
  std::int64_t next = 0;
  for (const std::int64_t tokens : forest.tokens) {
    forest.pages.first_page.push_back(next);
    next += core::ceil_div(tokens, page_size);
  }
}

}  // namespace

PrefixForest make_forest(const ForestSource& source) {
  check_source(source);
  const std::vector<Index> order = preorder(source);
  const Ends ends = ends_of(source, order);
  std::vector<Index> readers(source.parent.size(), 0);
  for (auto row = order.rbegin(); row != order.rend(); ++row) {
    const auto i = static_cast<std::size_t>(*row);
    readers[i] += ends.begin[i + 1] - ends.begin[i];
    if (source.parent[i] >= 0) readers[static_cast<std::size_t>(source.parent[i])] += readers[i];
  }
  PrefixForest forest;
  forest.name = source.name;
  std::vector<NodeId> renumbered(source.parent.size());
  for (const Index row : order) {
    const auto i = static_cast<std::size_t>(row);
    if (source.tokens[i] == 0 || readers[i] == 0) continue;
    const Index above = source.parent[i] < 0 ? -1 : ends.holder[static_cast<std::size_t>(source.parent[i])];
    const NodeId parent = above < 0 ? NodeId() : renumbered[static_cast<std::size_t>(above)];
    const auto first = static_cast<std::int32_t>(forest.request_count());
    const NodeId n = forest.parent.push_back(parent);
    renumbered[i] = n;
    forest.tokens.push_back(source.tokens[i]);
    forest.tokens_before.push_back(
        parent.valid() ? core::checked_add(forest.tokens_before[parent], forest.tokens[parent]) : 0);
    forest.request_begin.push_back(RequestId(first));
    forest.request_end.push_back(RequestId(first + readers[i]));
    forest.node_label.push_back(row);
    for (Index at = ends.begin[i]; at < ends.begin[i + 1]; ++at) {
      const auto r = static_cast<std::size_t>(ends.request[static_cast<std::size_t>(at)]);
      forest.leaf.push_back(n);
      forest.request_label.push_back(source.request_label.empty() ? std::to_string(r) : source.request_label[r]);
      forest.batch_position.push_back(source.batch_position.empty() ? static_cast<std::int32_t>(r)
                                                                    : source.batch_position[r]);
    }
  }
  lay_out_pages(forest, source.page_size);
  return forest;
}

PrefixForest make_forest_in_preorder(ForestSource&& source) {
  check_source(source);
  const std::size_t nodes = source.parent.size(), requests = source.leaf.size();
  PrefixForest forest;
  forest.name = std::move(source.name);
  forest.parent = core::Column<NodeId, NodeId>(nodes);
  forest.tokens_before = core::Column<NodeId, std::int64_t>(nodes, 0);
  forest.node_label = core::Column<NodeId, std::int64_t>(nodes);
  forest.request_begin = core::Column<NodeId, RequestId>(nodes);
  forest.request_end = core::Column<NodeId, RequestId>(nodes);
  // Requests by the node they end at, counted two places ahead, so that filling leaves each node's begin in its place.
  std::vector<Index> begin(nodes + 2, 0);
  for (const std::int64_t leaf : source.leaf) ++begin[static_cast<std::size_t>(leaf) + 2];
  for (std::size_t i = 2; i < begin.size(); ++i) begin[i] += begin[i - 1];
  forest.leaf = core::Column<RequestId, NodeId>(requests);
  forest.request_label = core::Column<RequestId, std::string>(requests);
  forest.batch_position = core::Column<RequestId, std::int32_t>(requests);
  for (std::size_t r = 0; r < requests; ++r) {
    const RequestId at(begin[static_cast<std::size_t>(source.leaf[r]) + 1]++);
    forest.leaf[at] = NodeId(static_cast<std::int32_t>(source.leaf[r]));
    forest.request_label[at] = source.request_label.empty() ? std::to_string(r) : std::move(source.request_label[r]);
    forest.batch_position[at] = source.batch_position.empty() ? static_cast<std::int32_t>(r) : source.batch_position[r];
  }
  for (std::size_t i = nodes; i-- > 0;) {
    const NodeId n(i);
    forest.parent[n] = NodeId(static_cast<std::int32_t>(source.parent[i]));
    forest.node_label[n] = n.value;
    forest.request_begin[n] = RequestId(begin[i]);
    forest.request_end[n] = std::max(forest.request_end[n], RequestId(begin[i + 1]));
    if (forest.parent[n].valid()) {
      RequestId& above = forest.request_end[forest.parent[n]];
      above = std::max(above, forest.request_end[n]);
    }
  }
  forest.tokens = core::Column<NodeId, std::int64_t>(std::move(source.tokens));
  for (const NodeId n : core::ids<NodeId>(nodes)) {
    const NodeId parent = forest.parent[n];
    if (parent.valid()) {
      forest.tokens_before[n] = core::checked_add(forest.tokens_before[parent], forest.tokens[parent]);
    }
  }
  forest.pages.page_size = source.page_size;
  forest.pages.first_page = core::Column<NodeId, std::int64_t>(nodes);
  forest.pages.first_offset = core::Column<NodeId, std::int32_t>(nodes);
  return forest;
}

std::vector<RequestId> batch_order(const PrefixForest& forest) {
  std::vector<RequestId> order(forest.request_count());
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    order[static_cast<std::size_t>(forest.batch_position[r])] = r;
  }
  return order;
}

std::vector<NodeId> path_of(const PrefixForest& forest, NodeId n) {
  std::vector<NodeId> path;
  for (; n.valid(); n = forest.parent[n]) path.push_back(n);
  std::reverse(path.begin(), path.end());
  return path;
}

core::Column<NodeId, std::int32_t> depths(const PrefixForest& forest) {
  core::Column<NodeId, std::int32_t> depth(forest.node_count());
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (!forest.is_root(n)) depth[n] = depth[forest.parent[n]] + 1;
  }
  return depth;
}

std::int64_t unique_tokens(const PrefixForest& forest) {
  std::int64_t sum = 0;
  for (const std::int64_t tokens : forest.tokens) sum = core::checked_add(sum, tokens);
  return sum;
}

std::int64_t logical_tokens(const PrefixForest& forest) {
  std::int64_t sum = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    sum = core::checked_add(sum, core::checked_mul(forest.tokens[n], forest.readers(n)));
  }
  return sum;
}

PrefixForest floor_to_pages(const PrefixForest& forest, std::int32_t page_size) {
  if (page_size < 1 || page_size > kMaxPageSize) {
    throw core::usage_error(
        fmt::format("page size: expected an integer from 1 to {}, got {}", kMaxPageSize, page_size));
  }
  if (page_size == 1) return forest;
  ForestSource source;
  source.name = forest.name;
  source.page_size = page_size;
  source.request_label = forest.request_label.raw();
  source.batch_position = forest.batch_position.raw();
  source.leaf.resize(forest.request_count());
  std::vector<std::int64_t> label;                               // of each source row
  core::Column<NodeId, std::int64_t> row(forest.node_count());   // source row of each node
  core::Column<NodeId, std::int64_t> rest(forest.node_count());  // tokens that each child copies
  const auto add = [&](std::int64_t parent, std::int64_t tokens, NodeId from) {
    source.parent.push_back(parent);
    source.tokens.push_back(tokens);
    label.push_back(forest.node_label[from]);
    return static_cast<std::int64_t>(label.size()) - 1;
  };
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const bool root = forest.is_root(n);
    const std::int64_t total = forest.tokens[n] + (root ? 0 : rest[forest.parent[n]]);
    // The last node of a path keeps its partial page; a node that its only reader passes through hands it on like a
    // shared one.
    const bool private_end = forest.readers(n) == 1 && forest.leaf[forest.request_begin[n]] == n;
    rest[n] = private_end ? 0 : total % page_size;
    // A shared node shorter than a page stays as an empty row, which make_forest contracts.
    row[n] = add(root ? -1 : row[forest.parent[n]], total - rest[n], n);
    for (RequestId r = forest.request_begin[n]; r < forest.request_end[n] && forest.leaf[r] == n; ++r.value) {
      source.leaf[r.index()] = rest[n] > 0 ? add(row[n], rest[n], n) : row[n];
    }
  }
  PrefixForest floored = make_forest(source);
  for (std::int64_t& own : floored.node_label) own = label[static_cast<std::size_t>(own)];
  return floored;
}

std::int64_t kv_slot(const PageTable& pages, NodeId node, std::int64_t token) {
  const std::int64_t at = pages.first_offset[node] + token;
  const std::int64_t logical = pages.first_page[node] + at / pages.page_size;
  const std::int64_t page = pages.page_ids.empty() ? logical : pages.page_ids[static_cast<std::size_t>(logical)];
  return page * pages.page_size + at % pages.page_size;
}

namespace {

void check_pages(const PrefixForest& forest) {
  const PageTable& pages = forest.pages;
  ESPALIER_CHECK_OP(pages.page_size, >=, 1);
  ESPALIER_CHECK_OP(pages.page_size, <=, kMaxPageSize);
  ESPALIER_CHECK_OP(pages.first_page.size(), ==, forest.node_count());
  ESPALIER_CHECK_OP(pages.first_offset.size(), ==, forest.node_count());
  const std::int64_t high = max_page_id(pages.page_size);
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    ESPALIER_CHECK_OP(pages.first_page[n], >=, 0);
    ESPALIER_CHECK_OP(pages.first_page[n], <=, high);
    ESPALIER_CHECK_OP(pages.first_offset[n], >=, 0);
    ESPALIER_CHECK_OP(pages.first_offset[n], <, pages.page_size);
    const std::int64_t last = last_page(pages, n, forest.tokens[n]);
    ESPALIER_CHECK_OP(last, <=, high);
    if (!pages.page_ids.empty()) ESPALIER_CHECK_OP(last, <, static_cast<std::int64_t>(pages.page_ids.size()));
  }
  for (const std::int64_t page : pages.page_ids) ESPALIER_CHECK(page >= 0 && page <= high);
}

}  // namespace

bool is_permutation_of_rows(const std::vector<std::int32_t>& column, std::size_t rows) {
  if (column.size() != rows) return false;
  std::vector<char> seen(rows, 0);
  for (const std::int32_t at : column) {
    if (at < 0 || static_cast<std::size_t>(at) >= rows || seen[static_cast<std::size_t>(at)]++ != 0) return false;
  }
  return true;
}

void check_forest(const PrefixForest& forest) {
  const std::size_t n_nodes = forest.node_count();
  ESPALIER_CHECK_OP(n_nodes, <=, static_cast<std::size_t>(kMaxNodes));
  ESPALIER_CHECK_OP(forest.tokens.size(), ==, n_nodes);
  ESPALIER_CHECK_OP(forest.tokens_before.size(), ==, n_nodes);
  ESPALIER_CHECK_OP(forest.request_begin.size(), ==, n_nodes);
  ESPALIER_CHECK_OP(forest.request_end.size(), ==, n_nodes);
  ESPALIER_CHECK_OP(forest.node_label.size(), ==, n_nodes);
  ESPALIER_CHECK_OP(forest.request_label.size(), ==, forest.request_count());
  ESPALIER_CHECK(is_permutation_of_rows(forest.batch_position.raw(), forest.request_count()));
  std::int32_t previous_leaf = 0;
  for (const NodeId leaf : forest.leaf) {
    ESPALIER_CHECK(leaf.valid() && leaf.index() < n_nodes);
    ESPALIER_CHECK_OP(previous_leaf, <=, leaf.value);
    previous_leaf = leaf.value;
  }
  core::Column<NodeId, std::int32_t> end(n_nodes);  // first node after the subtree, if the order is a preorder
  for (auto i = static_cast<std::int32_t>(n_nodes) - 1; i >= 0; --i) {
    const NodeId n(i), parent = forest.parent[n];
    ESPALIER_CHECK(parent.value >= -1 && parent.value < i);
    end[n] = std::max(end[n], i + 1);
    if (parent.valid()) end[parent] = std::max(end[parent], end[n]);
  }
  for (const NodeId n : core::ids<NodeId>(n_nodes)) {
    const NodeId parent = forest.parent[n];
    // In a preorder every node lies inside its parent's subtree and outside every earlier sibling's.
    if (n.value > 0 && parent.value != n.value - 1) {
      NodeId above(n.value - 1);
      while (above.valid() && end[above] <= n.value) above = forest.parent[above];
      ESPALIER_CHECK_OP(above.value, ==, parent.value);
    }
    ESPALIER_CHECK(forest.tokens[n] >= 1 && forest.tokens[n] <= kMaxNodeTokens);
    ESPALIER_CHECK_OP(forest.tokens_before[n], ==,
                      parent.valid() ? forest.tokens_before[parent] + forest.tokens[parent] : 0);
    const auto& leaves = forest.leaf.raw();
    const auto first = std::lower_bound(leaves.begin(), leaves.end(), n) - leaves.begin();
    const auto last = std::lower_bound(leaves.begin(), leaves.end(), NodeId(end[n])) - leaves.begin();
    ESPALIER_CHECK_OP(forest.request_begin[n].value, ==, first);
    ESPALIER_CHECK_OP(forest.request_end[n].value, ==, last);
    ESPALIER_CHECK_OP(first, <, last);
  }
  check_pages(forest);
}

std::uint64_t forest_hash(const PrefixForest& forest) {
  core::Hasher hash;
  hash.column(forest.parent.raw());
  hash.column(forest.tokens.raw());
  hash.column(forest.node_label.raw());
  hash.column(forest.leaf.raw());
  hash.value(static_cast<std::uint64_t>(forest.request_count()));
  for (const std::string& label : forest.request_label) hash.text(label);
  hash.column(forest.batch_position.raw());
  hash.value(forest.pages.page_size);
  hash.column(forest.pages.first_page.raw());
  hash.column(forest.pages.first_offset.raw());
  hash.column(forest.pages.page_ids);
  return hash.digest();
}

}  // namespace espalier::traces
