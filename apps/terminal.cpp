#include "apps/terminal.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "core/error.h"

namespace espalier::apps {
namespace {

std::size_t display_width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

Table::Table(std::vector<std::string> headings, std::vector<Align> align) : align_(std::move(align)) {
  ESPALIER_CHECK_OP(headings.size(), ==, align_.size());
  rows_.push_back(std::move(headings));
}

void Table::row(std::vector<std::string> cells) {
  ESPALIER_CHECK_OP(cells.size(), ==, align_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::finish(const std::vector<std::size_t>& marked) const {
  std::vector<std::size_t> width(align_.size());
  for (const auto& cells : rows_) {
    for (std::size_t c = 0; c < cells.size(); ++c) width[c] = std::max(width[c], display_width(cells[c]));
  }
  std::string text;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    const bool mark = r > 0 && std::find(marked.begin(), marked.end(), r - 1) != marked.end();
    std::string line = mark ? "* " : "  ";
    for (std::size_t c = 0; c < align_.size(); ++c) {
      const std::string pad(width[c] - display_width(rows_[r][c]), ' ');
      line += align_[c] == Align::right ? pad + rows_[r][c] : rows_[r][c] + pad;
      if (c + 1 < align_.size()) line += "  ";
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

Progress::Progress(std::string label, std::size_t total)
    : label_(std::move(label)), total_(total), shown_(total > 4 && isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (shown_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::step() {
  const std::lock_guard lock(mutex_);
  ++done_;
  if (!shown_) return;
  constexpr std::size_t kWidth = 30;
  const std::size_t full = total_ == 0 ? kWidth : kWidth * done_ / total_;
  fmt::print(stderr, "\r\x1b[K{} [{}{}] {}/{}", label_, std::string(full, '#'), std::string(kWidth - full, '.'), done_,
             total_);
  std::fflush(stderr);
}

}  // namespace espalier::apps
