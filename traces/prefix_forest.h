// The KV-cache forest of one decode step: which KV tokens exist, and which requests read which of them.
//
// A node is a run of KV tokens; a request reads every node on the path from a root to the node it ends at. Nodes stand
// in depth-first preorder (parent < child) and requests in the order of their end nodes, so the requests under a node
// are one interval. Everything downstream (strategies, simulator, kernels) starts from this type. Importers renumber;
// the labels keep the ids of the file so that results can speak in them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/id.h"

namespace espalier::traces {

struct NodeTag;
struct RequestTag;
using NodeId = core::Id<NodeTag>;
using RequestId = core::Id<RequestTag>;

/// Longest node and largest forest we accept: segment offsets are 32-bit on the device.
inline constexpr std::int64_t kMaxNodeTokens = (std::int64_t{1} << 31) - 2;
inline constexpr std::int64_t kMaxNodes = std::int64_t{1} << 24;
inline constexpr std::int32_t kMaxPageSize = std::int32_t{1} << 20;
/// Highest page id for which every index into the KV cache, in tokens, fits 63 bits with room to spare.
constexpr std::int64_t max_page_id(std::int32_t page_size) { return (std::int64_t{1} << 62) / page_size - 1; }

/// Where the tokens of each node lie in the paged KV cache. Token t of node i is in logical page
/// first_page[i] + (first_offset[i] + t) / page_size, at (first_offset[i] + t) % page_size.
struct PageTable {
  std::int32_t page_size = 1;                       ///< tokens a page, >= 1
  core::Column<NodeId, std::int64_t> first_page;    ///< index of the node's first page in page_ids (or the page itself)
  core::Column<NodeId, std::int32_t> first_offset;  ///< token within that page at which the node begins
  std::vector<std::int64_t> page_ids;               ///< physical page of each logical page; empty: identity
  friend bool operator==(const PageTable&, const PageTable&) = default;
};

struct PrefixForest {
  // One row a node, depth-first preorder. All are >= 1 token long and have at least one request below or at them.
  core::Column<NodeId, NodeId> parent;               ///< invalid id at a root
  core::Column<NodeId, std::int64_t> tokens;         ///< own KV tokens, 1..kMaxNodeTokens
  core::Column<NodeId, std::int64_t> tokens_before;  ///< tokens on the path above the node
  core::Column<NodeId, RequestId> request_begin;     ///< requests under the node: [request_begin, request_end)
  core::Column<NodeId, RequestId> request_end;
  core::Column<NodeId, std::int64_t> node_label;  ///< the file's own node number

  // One row a request, depth-first order; a request that ends at a node comes before those that go deeper.
  core::Column<RequestId, NodeId> leaf;  ///< node at which the request ends (inner nodes and twins allowed)
  core::Column<RequestId, std::string> request_label;
  /// Place of the request in the batch as its source lists it: a permutation. Engines keep requests in arrival order;
  /// flat planners follow it, and how far apart relatives stand decides what the L2 catches.
  core::Column<RequestId, std::int32_t> batch_position;

  PageTable pages;
  std::string name;  ///< for reports: file and snapshot, family and options, …

  std::size_t node_count() const { return parent.size(); }
  std::size_t request_count() const { return leaf.size(); }
  std::int32_t readers(NodeId n) const { return request_end[n].value - request_begin[n].value; }
  bool is_root(NodeId n) const { return !parent[n].valid(); }
  /// KV tokens request r reads: its context.
  std::int64_t context_tokens(RequestId r) const { return tokens_before[leaf[r]] + tokens[leaf[r]]; }
  friend bool operator==(const PrefixForest&, const PrefixForest&) = default;
};

/// A forest as files have it: any node order, any request order.
struct ForestSource {
  std::string name;                          ///< appears in errors and in the forest
  std::vector<std::int64_t> parent;          ///< index of the parent node, -1 at a root
  std::vector<std::int64_t> tokens;          ///< own tokens; 0 is allowed and contracted away
  std::vector<std::int64_t> leaf;            ///< end node of each request
  std::vector<std::string> request_label;    ///< empty: the index in `leaf`
  std::vector<std::int32_t> batch_position;  ///< a permutation; empty: the index in `leaf`
  std::int32_t page_size = 1;                ///< identity page table of this page size: every node begins a page
};

/// Renumbers to depth-first preorder (children and requests keep the source's order), contracts empty nodes, drops
/// nodes no request reads, lays out an identity page table. Throws Error (bad input) on a cycle, a dangling parent or
/// leaf, or a length that is negative or absurd. A request with an empty path is an error.
PrefixForest make_forest(const ForestSource& source);

/// Requests in the order of their batch positions.
std::vector<RequestId> batch_order(const PrefixForest& forest);

/// Nodes from the root down to `n`, inclusive.
std::vector<NodeId> path_of(const PrefixForest& forest, NodeId n);
/// Depth of each node, roots 0.
core::Column<NodeId, std::int32_t> depths(const PrefixForest& forest);

/// Sum of node lengths, and of request contexts: unique and logical tokens. Their quotient is the dedupe. Checked sums.
std::int64_t unique_tokens(const PrefixForest& forest);
std::int64_t logical_tokens(const PrefixForest& forest);

/// The same batch held by an engine with pages of `page_size` tokens that shares whole pages only: shared lengths are
/// floored to whole pages and the rest is copied into the children (a request that ends at a shared node gets a private
/// node for it). All nodes but the last of a path are whole pages then, so that paths are aligned. Labels stay those of
/// the nodes that the tokens came from (a private copy has the label of the shared node), and requests keep their
/// order. Sharing can only fall. page_size 1 returns the forest as it is.
PrefixForest floor_to_pages(const PrefixForest& forest, std::int32_t page_size);

/// Index into the KV cache, in tokens: physical page x page size + offset.
std::int64_t kv_slot(const PageTable& pages, NodeId node, std::int64_t token);

/// Logical page of the last of the first `tokens` tokens of a node.
inline std::int64_t last_page(const PageTable& pages, NodeId node, std::int64_t tokens) {
  return pages.first_page[node] + (pages.first_offset[node] + tokens - 1) / pages.page_size;
}

/// False where tokens of a node lie one after another: an identity table of pages of one token, which no one made.
inline bool is_paged(const PageTable& pages) { return pages.page_size > 1 || !pages.page_ids.empty(); }

/// True when `column` holds each of 0 … rows-1 once.
bool is_permutation_of_rows(const std::vector<std::int32_t>& column, std::size_t rows);

/// Throws InvariantError unless every rule in the comments above holds. For tests and for plans read from files.
void check_forest(const PrefixForest& forest);

/// Content hash: structure, lengths, labels, pages.
std::uint64_t forest_hash(const PrefixForest& forest);

}  // namespace espalier::traces
