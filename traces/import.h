// Forests from files: snapshots, the peers' tree notation, paged block tables, our own forest/1.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "traces/prefix_forest.h"

namespace espalier::core {
class JsonView;
class JsonWriter;
}  // namespace espalier::core

namespace espalier::traces {

/// Forest snapshots as JSON lines: {"name","snapshot","note","parent":[…],"tokens":[…],"leaf":[…]} a line, or one
/// forest/1 document. `snapshot` picks the lines whose "snapshot" field (default: the line's place, from 0) has that
/// value; all otherwise. `text` is the file's content. A snapshot without requests gives an empty forest.
std::vector<PrefixForest> read_forests(std::string_view text, const std::string& file,
                                       std::optional<std::int64_t> snapshot);

/// "1,10|4096,416": nodes a level | tokens of each node at that level. Node j of a level with n nodes hangs under
/// parent floor(j * n_above / n); each last-level node is a request. '_' may stand for '|'. Levels may shrink; 0 tokens
/// allowed.
PrefixForest parse_tree(std::string_view notation);

/// What a paged engine knows of its running batch: the pages of each request, in order.
struct BlockTable {
  std::int32_t page_size = 1;
  std::vector<std::string> request_id;
  std::vector<std::int64_t> tokens;        ///< context of each request; fills its pages except for the last
  std::vector<std::size_t> page_begin{0};  ///< pages of request r: [page_begin[r], page_begin[r + 1])
  std::vector<std::int64_t> pages;         ///< physical page ids
  std::vector<std::int64_t> line;          ///< line of the file each request stood on, for errors; may be empty
};
/// The same as an engine holds it on its way to a kernel: flat arrays of 32-bit numbers that it goes on owning. It may
/// be a slice of a larger table: pages before page_begin.front() and from page_begin.back() on aren't looked at.
struct BlockTableView {
  std::int32_t page_size = 1;
  std::span<const std::int32_t> tokens;  ///< context of each request
  std::span<const std::int32_t>
      page_begin;  ///< pages of request r: [page_begin[r], page_begin[r + 1]); one more than requests
  std::span<const std::int32_t> pages;  ///< physical page ids
};
/// The forest that the same table gives as a BlockTable whose ids are the requests' places. Throws Error (bad_input)
/// where offsets descend or leave `pages`, and as for a BlockTable.
PrefixForest make_forest(const BlockTableView& table, const std::string& name);
/// Linear in pages; `name` appears in errors and in the forest. Keeps the physical pages in the page table.
PrefixForest make_forest(const BlockTable& table, const std::string& name);
BlockTable parse_block_table(std::string_view text, const std::string& file);

/// JSON lines: {"schema":"block_table/1","page_size":P}, then {"id":…,"tokens":n,"pages":[…]} a request. Shared
/// prefixes are found by the identity of whole paths of pages, including a shared last page that one request fills less
/// than another.
PrefixForest read_block_table(std::string_view text, const std::string& file);

/// forest/1: the project's own document. Unaligned nodes and page tables survive the round trip.
std::string write_forest(const PrefixForest& forest);
/// The same as one JSON object inside another document.
void write_forest(core::JsonWriter& out, const PrefixForest& forest);
PrefixForest read_forest(const core::JsonView& object);
PrefixForest read_forest_document(std::string_view text, const std::string& file);
/// A block table of this forest at its page size, one request a line, in batch order. Throws Error where a node begins
/// a new page although the page above it isn't full, which a block table can't say (floor_to_pages makes such forests
/// fit).
std::string write_block_table(const PrefixForest& forest);

}  // namespace espalier::traces
