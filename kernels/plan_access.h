// Checked access to a plan's columns: an interval or id that points outside its column is bad input, not a crash. The
// interpreter runs plans that no validator has seen.
#pragma once

#include <fmt/core.h>

#include <span>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "scheduler/plan.h"

namespace espalier::kernels {

/// Throws Error (bad input) unless 0 <= begin <= end <= size.
inline void check_interval(std::string_view what, std::int64_t begin, std::int64_t end, std::int64_t size) {
  if (begin < 0 || begin > end || end > size) {
    throw core::bad_input(fmt::format("plan: {}", what), fmt::format("an interval within [0, {})", size),
                          fmt::format("[{}, {})", begin, end));
  }
}

template <class T>
std::span<const T> slice(std::string_view what, const std::vector<T>& column, scheduler::Interval interval) {
  check_interval(what, interval.begin, interval.end, static_cast<std::int64_t>(column.size()));
  return std::span(column).subspan(static_cast<std::size_t>(interval.begin), static_cast<std::size_t>(interval.size()));
}

template <class I, class T>
const T& row_of(std::string_view what, const core::Column<I, T>& column, I id) {
  if (id.value < 0 || id.index() >= column.size()) {
    throw core::bad_input(fmt::format("plan: {}", what), fmt::format("a row from 0 to {}", column.size()),
                          std::to_string(id.value));
  }
  return column[id];
}

}  // namespace espalier::kernels
