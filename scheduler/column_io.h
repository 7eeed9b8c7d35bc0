// Tables of plain structs as JSON objects of columns. A table is described once, by a function that names each column
// and the member it holds; ColumnWriter and ColumnReader both take that description, so writing and reading can't drift
// apart.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace espalier::scheduler {

class ColumnWriter {
 public:
  explicit ColumnWriter(core::JsonWriter& out) : out_(out) {}

  template <class Rows, class Body>
  void table(std::string_view name, const Rows&, Body body) {
    out_.key(name).begin_object();
    body();
    out_.end_object();
  }
  struct Range {
    std::int64_t low, high;
  };
  template <class Rows, class Get>
  void integer(std::string_view name, const Rows& rows, Range, Get get) {
    column(name, rows, get);
  }
  /// A column that is left out when all its values are zero.
  template <class Rows, class Get>
  void integer_or_zero(std::string_view name, const Rows& rows, Range range, Get get) {
    if (std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return std::invoke(get, row) != 0; })) {
      integer(name, rows, range, get);
    }
  }
  /// A column whose values may be numbers, flags or texts.
  template <class Rows, class Get>
  void plain(std::string_view name, const Rows& rows, Get get) {
    column(name, rows, get);
  }
  template <class Rows, class Get>
  void named(std::string_view name, const Rows& rows, std::span<const std::string_view> names, Get get) {
    column(name, rows, [&](const auto& row) { return names[static_cast<std::size_t>(std::invoke(get, row))]; });
  }

 private:
  template <class Rows, class Get>
  void column(std::string_view name, const Rows& rows, Get get) {
    out_.key(name).begin_array();
    for (const auto& row : rows) out_.value(std::invoke(get, row));
    out_.end_array();
  }
  core::JsonWriter& out_;
};

/// Strict: columns of a table are equally long (the first one gives the number of rows), values in range, keys known.
class ColumnReader {
 public:
  explicit ColumnReader(const core::JsonView& root) : root_(root) {}

  template <class Rows, class Body>
  void table(std::string_view name, Rows&, Body body) {
    table_ = root_.at(name);
    columns_.clear();
    body();
    for (const std::string& key : table_->keys()) {
      if (key.starts_with("x_") || std::find(columns_.begin(), columns_.end(), key) != columns_.end()) continue;
      throw core::bad_input(table_->where(), "only the keys " + list(columns_), fmt::format("\"{}\"", key));
    }
  }
  using Range = ColumnWriter::Range;
  template <class Rows, class Get>
  void integer(std::string_view name, Rows& rows, Range range, Get get) {
    const auto values = column(name, rows).integers(range.low, range.high);
    auto value = values.begin();
    for (auto& row : rows) {
      auto& field = std::invoke(get, row);
      field = static_cast<std::remove_reference_t<decltype(field)>>(*value++);
    }
  }
  template <class Rows, class Get>
  void integer_or_zero(std::string_view name, Rows& rows, Range range, Get get) {
    if (table_->find(name)) integer(name, rows, range, get);
  }
  template <class Rows, class Get>
  void plain(std::string_view name, Rows& rows, Get get) {
    const core::JsonView view = column(name, rows);
    std::size_t i = 0;
    for (auto& row : rows) read(view.at(i++), std::invoke(get, row));
  }
  template <class Rows, class Get>
  void named(std::string_view name, Rows& rows, std::span<const std::string_view> names, Get get) {
    const core::JsonView view = column(name, rows);
    std::size_t i = 0;
    for (auto& row : rows) {
      const core::JsonView element = view.at(i++);
      const std::string got = element.string();
      const auto at = std::find(names.begin(), names.end(), got);
      if (at == names.end()) {
        throw core::bad_input(element.where(), "one of " + list(names), fmt::format("\"{}\"", got));
      }
      auto& field = std::invoke(get, row);
      field = static_cast<std::remove_reference_t<decltype(field)>>(at - names.begin());
    }
  }

 private:
  static void read(const core::JsonView& view, double& field) { field = view.number(); }
  static void read(const core::JsonView& view, bool& field) { field = view.boolean(); }
  static void read(const core::JsonView& view, std::string& field) { field = view.string(); }

  template <class Names>
  static std::string list(const Names& names) {
    std::string text;
    for (const std::string_view name : names) text += (text.empty() ? "" : ", ") + std::string(name);
    return text;
  }
  template <class Rows>
  core::JsonView column(std::string_view name, Rows& rows) {
    const core::JsonView view = table_->at(name);
    if (columns_.empty()) rows.resize(view.size());
    columns_.emplace_back(name);
    if (view.size() != rows.size()) {
      throw core::bad_input(view.where(), fmt::format("{} elements, as in {}", rows.size(), columns_.front()),
                            std::to_string(view.size()));
    }
    return view;
  }

  core::JsonView root_;
  std::optional<core::JsonView> table_;
  std::vector<std::string> columns_;  ///< of the open table, in the order read
};

}  // namespace espalier::scheduler
