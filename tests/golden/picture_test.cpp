// What `export svg` and `export png` draw: which shapes of which colour stand where, and how the pixels of each part of
// the picture look.
//
// A change of the pictures changes tests/golden/pictures.txt on purpose; look at them, then write it anew with
//   ESPALIER_WRITE_GOLDEN=1 build/release/tests/golden/golden_tests --gtest_filter='Pictures.*'
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <sstream>

#include "apps/exports.h"
#include "core/file.h"
#include "scheduler/strategy.h"
#include "traces/import.h"
#ifdef ESPALIER_HAS_EXPLORER
#include <png.h>

#include <cstring>
#endif

namespace espalier::apps {
namespace {

constexpr const char* kFile = ESPALIER_SOURCE_DIR "/tests/golden/pictures.txt";

const traces::HeadConfig kHeads = traces::parse_heads("8/2/64");

scheduler::Plan sample_plan() {
  const auto forest = traces::parse_tree("1,3,4|600,900,200");
  const auto device = costmodel::find_device("h100-sxm");
  auto made = scheduler::make_plan(scheduler::parse_strategy("fasttree"),
                                   {.forest = forest, .heads = kHeads, .device = device});
  return std::get<scheduler::Plan>(std::move(made));
}

/// The picture of a plan, or of its forest alone.
std::string exported(const std::string& what, const std::string& format) {
  const scheduler::Plan plan = sample_plan();
  const ExportOptions options{format, "", "light", 1, "builtin"};
  return what == "plan" ? export_plan(plan, costmodel::find_device("h100-sxm"), options)
                        : export_forest(plan.forest, kHeads, options);
}

std::string attribute(const std::string& line, const std::string& name) {
  const std::size_t at = line.find(" " + name + "=\"");
  if (at == std::string::npos) return "";
  const std::size_t begin = at + name.size() + 3;
  return line.substr(begin, line.find('"', begin) - begin);
}

/// Each heading, and between them how many shapes of which class there are and the whole-unit middle of all of them, so
/// that a letter more or a hundredth of a unit changes nothing.
std::string svg_structure(const std::string& svg) {
  struct Sum {
    std::int64_t count = 0;
    double x = 0, y = 0;
  };
  std::map<std::string, Sum> sums;
  std::string out;
  const auto flush = [&] {
    for (const auto& [kind, sum] : sums) {
      const auto n = static_cast<double>(sum.count);
      out += fmt::format("  {} {} around {:.0f} {:.0f}\n", sum.count, kind, std::round(sum.x / n / 5) * 5,
                         std::round(sum.y / n / 5) * 5);
    }
    sums.clear();
  };
  std::istringstream lines(svg);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("<svg")) out += fmt::format("  {}\n", attribute(line, "viewBox"));
    const std::string tag = line.substr(0, line.find(' '));
    if (tag != "<rect" && tag != "<text" && tag != "<line" && tag != "<path") continue;
    if (tag == "<text" && attribute(line, "font-weight") == "600" && attribute(line, "font-size") == "14") {
      flush();
      const std::size_t begin = line.find('>') + 1;
      out += "  = " + line.substr(begin, line.find('<', begin) - begin) + "\n";
    }
    const std::string item = attribute(line, "data-item");
    Sum& sum = sums[tag.substr(1) + " " + attribute(line, "class") +
                    (item.empty() ? "" : " " + item.substr(0, item.find(' ')))];
    sum.count += tag == "<path" ? std::count(line.begin(), line.end(), 'M') : 1;  // boxes of one colour share a path
    const std::string x = attribute(line, tag == "<line" ? "x1" : "x"),
                      y = attribute(line, tag == "<line" ? "y1" : "y");
    if (!x.empty()) sum.x += std::stod(x);
    if (!y.empty()) sum.y += std::stod(y);
  }
  flush();
  return out;
}

/// By section: "svg forest", "png plan", ….
std::map<std::string, std::string> golden() {
  std::map<std::string, std::string> sections;
  std::istringstream lines(core::read_file(kFile));
  std::string name;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  ")) {
      sections[name] += line + "\n";
    } else {
      name = line;
    }
  }
  return sections;
}

bool writes() { return std::getenv("ESPALIER_WRITE_GOLDEN") != nullptr; }

void write(const std::string& name, const std::string& text) {
  auto sections = golden();
  sections[name] = text;
  std::string all;
  for (const auto& [section, lines] : sections) all += section + "\n" + lines;
  core::write_file(kFile, all);
}

TEST(Pictures, OfForestsAndPlansHaveTheirShapes) {
  for (const char* what : {"forest", "plan"}) {
    const std::string structure = svg_structure(exported(what, "svg"));
    if (writes()) {
      write(fmt::format("svg {}", what), structure);
    } else {
      EXPECT_EQ(structure, golden()[fmt::format("svg {}", what)]) << what;
    }
  }
}

#ifdef ESPALIER_HAS_EXPLORER
/// Mean colours of the parts of a picture, row by row.
std::string png_parts(const std::string& bytes) {
  constexpr std::uint32_t kAcross = 12, kDown = 12;
  png_image header;
  std::memset(&header, 0, sizeof header);
  header.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&header, bytes.data(), bytes.size()) == 0) return "";
  header.format = PNG_FORMAT_RGB;
  std::vector<std::uint8_t> rgb(PNG_IMAGE_SIZE(header));
  if (png_image_finish_read(&header, nullptr, rgb.data(), 0, nullptr) == 0) return "";
  std::string out = fmt::format("  {} x {}\n", header.width, header.height);
  for (std::uint32_t row = 0; row < kDown; ++row) {
    out += " ";
    for (std::uint32_t column = 0; column < kAcross; ++column) {
      std::uint64_t sum[3] = {}, count = 0;
      for (std::uint32_t y = row * header.height / kDown; y < (row + 1) * header.height / kDown; ++y) {
        for (std::uint32_t x = column * header.width / kAcross; x < (column + 1) * header.width / kAcross;
             ++x, ++count) {
          for (std::size_t c = 0; c < 3; ++c) sum[c] += rgb[(std::size_t{y} * header.width + x) * 3 + c];
        }
      }
      out += fmt::format(" {:02x}{:02x}{:02x}", sum[0] / count, sum[1] / count, sum[2] / count);
    }
    out += "\n";
  }
  return out;
}

TEST(Pictures, OfForestsAndPlansHaveTheirPixels) {
  constexpr int kSlack = 4;  // of 255, in the mean of ten thousand pixels: less than a box that is gone
  for (const char* what : {"forest", "plan"}) {
    const std::string parts = png_parts(exported(what, "png"));
    if (writes()) {
      write(fmt::format("png {}", what), parts);
      continue;
    }
    std::istringstream made(parts), wanted(golden()[fmt::format("png {}", what)]);
    std::string a, b;
    int words = 0;
    while (made >> a && wanted >> b) {
      ++words;
      if (a.size() != 6) {
        EXPECT_EQ(a, b) << what;
        continue;
      }
      for (std::size_t c = 0; c < 6; c += 2) {
        EXPECT_NEAR(std::stoi(a.substr(c, 2), nullptr, 16), std::stoi(b.substr(c, 2), nullptr, 16), kSlack)
            << what << " part " << words - 4;
      }
    }
    EXPECT_EQ(words, 3 + 144) << what;
  }
}
#endif

}  // namespace
}  // namespace espalier::apps
