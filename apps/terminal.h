// The terminal: aligned tables on stdout, a progress bar on stderr when a person watches. Only this folder prints.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

namespace espalier::apps {

enum class Align { left, right };

/// Rows of cells under headings; finish() pads every column to its widest cell. Cells may hold UTF-8.
class Table {
 public:
  Table(std::vector<std::string> headings, std::vector<Align> align);
  void row(std::vector<std::string> cells);
  /// The text; `mark` rows get a leading "* ".
  std::string finish(const std::vector<std::size_t>& marked = {}) const;

 private:
  std::vector<Align> align_;
  std::vector<std::vector<std::string>> rows_;  ///< [0] are the headings
};

/// "  12/264 planning …" redrawn in place on stderr; silent unless stderr is a terminal and `total` is worth it.
/// Thread-safe.
class Progress {
 public:
  Progress(std::string label, std::size_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void step();

 private:
  std::string label_;
  std::size_t total_;
  std::size_t done_ = 0;
  bool shown_;
  std::mutex mutex_;
};

}  // namespace espalier::apps
