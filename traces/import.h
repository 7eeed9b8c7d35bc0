// Forests from files: snapshots, the peers' tree notation, paged block tables, our own forest/1.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "traces/prefix_forest.h"

namespace espalier::traces {

/// Forest snapshots as JSON lines: {"name","snapshot","note","parent":[…],"tokens":[…],"leaf":[…]} a line, or one forest/1
/// document. `snapshot` picks the line whose "snapshot" field has that value; all otherwise. `text` is the file's content.
std::vector<PrefixForest> read_forests(std::string_view text, const std::string& file, std::optional<std::int64_t> snapshot);

/// "1,10|4096,416": nodes a level | tokens of each node at that level. Node j of a level with n nodes hangs under parent
/// floor(j * n_above / n); each last-level node is a request. '_' may stand for '|'. Levels may shrink; 0 tokens allowed.
PrefixForest parse_tree(std::string_view notation);

/// JSON lines: {"schema":"block_table/1","page_size":P}, then {"id":…,"tokens":n,"pages":[…]} a request. Shared prefixes are
/// found by the identity of whole paths of pages, including a shared last page that one request fills less than another.
PrefixForest read_block_table(std::string_view text, const std::string& file);

/// forest/1: the project's own document. Unaligned nodes and page tables survive the round trip.
std::string write_forest(const PrefixForest& forest);
PrefixForest read_forest_document(std::string_view text, const std::string& file);
/// A block table of this forest at its page size, one request a line, in request order.
std::string write_block_table(const PrefixForest& forest);

}  // namespace espalier::traces
