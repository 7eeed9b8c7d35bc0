// Strong ids and the columns they index.
//
// Every entity of the data model (node, request, task, slot, …) is a row of a column-wise table. An id is the row
// number with the table's name in its type, so that a node can't be looked up in a column of tasks.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

namespace espalier::core {

/// Row number of the table `Tag`; -1 is "none". Trivially copyable, four bytes, used unchanged in device structs.
template <class Tag>
struct Id {
  std::int32_t value = -1;

  constexpr Id() = default;
  constexpr explicit Id(std::int32_t v) : value(v) {}
  constexpr explicit Id(std::size_t v) : value(static_cast<std::int32_t>(v)) {}
  constexpr bool valid() const { return value >= 0; }
  constexpr std::size_t index() const { return static_cast<std::size_t>(value); }
  friend constexpr auto operator<=>(Id, Id) = default;
};

/// A column: one `T` for each row of the table that `I` names. A vector whose subscript takes the right id only.
template <class I, class T>
class Column {
 public:
  Column() = default;
  explicit Column(std::size_t n, T fill = T{}) : rows_(n, std::move(fill)) {}
  explicit Column(std::vector<T> rows) : rows_(std::move(rows)) {}
  Column(std::initializer_list<T> rows) : rows_(rows) {}

  T& operator[](I id) { return rows_[id.index()]; }
  const T& operator[](I id) const { return rows_[id.index()]; }
  std::size_t size() const { return rows_.size(); }
  bool empty() const { return rows_.empty(); }
  void reserve(std::size_t n) { rows_.reserve(n); }
  void clear() { rows_.clear(); }
  I push_back(T row) {
    rows_.push_back(std::move(row));
    return I(rows_.size() - 1);
  }
  auto begin() const { return rows_.begin(); }
  auto end() const { return rows_.end(); }
  auto begin() { return rows_.begin(); }
  auto end() { return rows_.end(); }
  std::vector<T>& raw() { return rows_; }
  const std::vector<T>& raw() const { return rows_; }
  friend bool operator==(const Column&, const Column&) = default;

 private:
  std::vector<T> rows_;
};

/// All ids of a table of `n` rows, in order: `for (NodeId i : ids<NodeId>(n))`.
template <class I>
class IdRange {
 public:
  struct iterator {
    std::int32_t at;
    I operator*() const { return I(at); }
    iterator& operator++() {
      ++at;
      return *this;
    }
    friend bool operator==(iterator, iterator) = default;
  };
  constexpr IdRange(I begin, I end) : begin_(begin.value), end_(end.value) {}
  iterator begin() const { return {begin_}; }
  iterator end() const { return {end_}; }

 private:
  std::int32_t begin_, end_;
};

template <class I>
constexpr IdRange<I> ids(std::size_t n) {
  return {I(0), I(n)};
}

}  // namespace espalier::core
