# cmake -D OUT=<file.cpp> -D LICENCE=<file> -D PAGE=<file> -D STYLES=<files> -D SCRIPTS=<files>
#   -P cmake/EmbedPage.cmake
#
# Writes a C++ source with the files of the report's page as string literals, each with the hash
# that a Content-Security-Policy names it by. Lists are separated by commas.
cmake_minimum_required(VERSION 3.25)

set(digits ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/)

# The base64 form of a SHA-256 sum in 64 hexadecimal digits: three of them make two characters.
function(base64_of hex out)
  string(APPEND hex 00)
  set(result "")
  foreach(place RANGE 0 63 3)
    string(SUBSTRING ${hex} ${place} 3 three)
    math(EXPR high "0x${three} >> 6")
    math(EXPR low "0x${three} & 63")
    string(SUBSTRING ${digits} ${high} 1 first)
    string(SUBSTRING ${digits} ${low} 1 second)
    string(APPEND result ${first}${second})
  endforeach()
  # 256 bits end within the 43rd character; one sign of padding follows.
  string(SUBSTRING ${result} 0 43 result)
  set(${out} ${result}= PARENT_SCOPE)
endfunction()

function(literal_of file out)
  file(READ ${file} text)
  set(${out} "R\"asset(${text})asset\"" PARENT_SCOPE)
endfunction()

function(assets name files out)
  string(REPLACE "," ";" files "${files}")
  set(entries "")
  foreach(file IN LISTS files)
    literal_of(${file} text)
    file(SHA256 ${file} sum)
    base64_of(${sum} hash)
    string(APPEND entries "        {${text}, \"sha256-${hash}\"},\n")
  endforeach()
  set(${out} "std::span<const PageAsset> ${name}() {
    static constexpr PageAsset assets[] = {\n${entries}    };
    return assets;\n}\n\n" PARENT_SCOPE)
endfunction()

assets(page_styles "${STYLES}" styles)
assets(page_scripts "${SCRIPTS}" scripts)
literal_of(${PAGE} page)
literal_of(${LICENCE} licence)
file(WRITE ${OUT} "// Written by cmake/EmbedPage.cmake.
#include \"tools/report/assets.hpp\"

namespace kvtape::report {

${styles}${scripts}std::string_view page_template() {
    return ${page};
}

std::string_view chart_licence() {
    return ${licence};
}

}  // namespace kvtape::report
")
