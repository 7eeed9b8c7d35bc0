// Pixels of triangles, and PNG files.
#include "viz/soft/raster.h"

#include <gtest/gtest.h>
#include <imgui.h>
#include <png.h>

#include <cstring>

#include "core/hash.h"
#include "core/rng.h"
#include "viz/ui/scene_image.h"

namespace espalier::viz {
namespace {

constexpr std::uint8_t kWhite[1] = {255};

/// Triangles over black, all of one colour, the texture being one opaque pixel.
Image drawn(const std::vector<ImVec2>& corners, ImU32 colour, std::int32_t size) {
  ImDrawList list(nullptr);
  ImDrawCmd command;
  command.ClipRect = {0, 0, static_cast<float>(size), static_cast<float>(size)};
  command.ElemCount = static_cast<unsigned>(corners.size());
  list.CmdBuffer.push_back(command);
  for (const ImVec2& p : corners) {
    list.IdxBuffer.push_back(static_cast<ImDrawIdx>(list.VtxBuffer.Size));
    list.VtxBuffer.push_back({p, {0.5F, 0.5F}, colour});
  }
  ImDrawList* lists[] = {&list};
  ImDrawData data;
  data.CmdLists = lists;
  data.CmdListsCount = 1;
  data.DisplaySize = {static_cast<float>(size), static_cast<float>(size)};
  data.FramebufferScale = {1, 1};
  return rasterise(data, {kWhite, 1, 1}, {0, 0, 0});
}

int red(const Image& image, int x, int y) {
  return image
      .rgb[3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) + static_cast<std::size_t>(x))];
}

TEST(Raster, FillsExactlyThePixelsOfARectangle) {
  const Image image = drawn({{2, 3}, {7, 3}, {7, 6}, {2, 3}, {7, 6}, {2, 6}}, IM_COL32(200, 0, 0, 255), 10);
  for (int y = 0; y < 10; ++y) {
    for (int x = 0; x < 10; ++x) {
      EXPECT_EQ(red(image, x, y), x >= 2 && x < 7 && y >= 3 && y < 6 ? 200 : 0) << x << " " << y;
    }
  }
}

TEST(Raster, NeighboursNeverShareOrMissAPixel) {
  core::Rng rng(5);
  for (int trial = 0; trial < 60;
       ++trial) {  // a fan around a point covers a square; half-transparent overlaps would show
    const auto at = [&] { return static_cast<float>(1 + rng.uniform() * 14); };
    const ImVec2 centre{at(), at()};
    const ImVec2 corners[] = {{0, 0}, {at(), 0}, {16, 0}, {16, at()}, {16, 16}, {at(), 16}, {0, 16}, {0, at()}};
    std::vector<ImVec2> fan;
    for (int i = 0; i < 8; ++i) {
      const bool other = rng.chance(0.5);
      fan.insert(fan.end(), {centre, corners[other ? (i + 1) % 8 : i], corners[other ? i : (i + 1) % 8]});
    }
    const Image image = drawn(fan, IM_COL32(255, 0, 0, 100), 16);
    for (int y = 0; y < 16; ++y) {
      for (int x = 0; x < 16; ++x) ASSERT_EQ(red(image, x, y), 100) << trial << " " << x << " " << y;
    }
  }
}

TEST(Raster, ClipsToTheCommandsRectangle) {
  const Image image = drawn({{-5, -5}, {50, -5}, {-5, 50}}, IM_COL32(9, 0, 0, 255), 8);
  EXPECT_EQ(red(image, 0, 0), 9);
  EXPECT_EQ(red(image, 7, 7), 9);
}

std::string hash_of(const Image& image) {
  core::Hasher hasher;
  hasher.value(image.width);
  hasher.column(image.rgb);
  return core::hash_text(hasher.digest());
}

TEST(SceneImage, IsTheSameInEveryBuild) {
  Scene scene{120, 60, "sample", {}};
  scene.shapes = {
      Rect{10, 10, 50.4, 20.6, Paint::hbm},       Rect{70, 10, 30, 20, Paint::step2, Paint::select, 128},
      Line{5, 40, 115, 40, Paint::grid},          Line{5, 45, 115, 55, Paint::merge, 1.5},
      Line{10, 5, 110, 5, Paint::muted, 1, true}, Text{60, 25, "97 % of 53.6 µs", Paint::ink, 12, Anchor::middle}};
  EXPECT_EQ(hash_of(scene_image(scene, Theme::light, 1, Face::builtin)), "c4fe34dcd96a337b");
  EXPECT_EQ(hash_of(scene_image(scene, Theme::dark, 2, Face::builtin)), "f68f6c76f10190da");
}

TEST(Png, ReadsBackAsWritten) {
  Image image{5, 3, {}};
  for (int i = 0; i < 45; ++i) image.rgb.push_back(static_cast<std::uint8_t>(i * 5));
  const std::string file = write_png(image);
  png_image header;
  std::memset(&header, 0, sizeof header);
  header.version = PNG_IMAGE_VERSION;
  ASSERT_NE(png_image_begin_read_from_memory(&header, file.data(), file.size()), 0);
  header.format = PNG_FORMAT_RGB;
  std::vector<std::uint8_t> pixels(PNG_IMAGE_SIZE(header));
  ASSERT_NE(png_image_finish_read(&header, nullptr, pixels.data(), 0, nullptr), 0);
  EXPECT_EQ(header.width, 5U);
  EXPECT_EQ(pixels, image.rgb);
}

}  // namespace
}  // namespace espalier::viz
