// Lengths by quarter octave: pieces that are about equally long are priced, and launched, together.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace espalier::scheduler::planning {

inline constexpr int kLengthClasses = 4 * 64;
/// Lengths within a quarter octave are alike.
inline int length_class(std::int64_t tokens) {
  const auto octave = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(tokens))) - 1;
  return 4 * octave + static_cast<int>(octave >= 2 ? tokens >> (octave - 2) & 3 : 0);
}

/// Numbers of pieces by class of length, and their tokens.
class LengthHistogram {
 public:
  void add(std::int64_t tokens, std::int64_t count) {
    const auto c = static_cast<std::size_t>(length_class(tokens));
    const std::uint64_t bit = std::uint64_t{1} << (c % 64);
    if ((used_[c / 64] & bit) == 0) rows_[c] = {0, 0, 0};
    used_[c / 64] |= bit;
    Row& row = rows_[c];
    row.tokens += static_cast<double>(tokens * count);
    row.count += static_cast<double>(count);
    row.longest = std::max(row.longest, static_cast<double>(tokens));
  }
  /// Visits (tokens, count, longest) of the classes that have any, shortest first, and empties them.
  template <class F>
  void drain(F&& visit) {
    for (std::size_t word = 0; word < used_.size(); ++word) {
      for (; used_[word] != 0; used_[word] &= used_[word] - 1) {
        const std::size_t c = 64 * word + static_cast<std::size_t>(std::countr_zero(used_[word]));
        visit(rows_[c].tokens, rows_[c].count, rows_[c].longest);
      }
    }
  }

 private:
  struct Row {
    double tokens, count, longest;
  };
  std::array<std::uint64_t, kLengthClasses / 64> used_{};
  std::array<Row, kLengthClasses> rows_;  ///< those of classes that aren't used are left uninitialised
};

}  // namespace espalier::scheduler::planning
