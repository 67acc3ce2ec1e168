// Runs before anything of a report does, in the same window; everything the report could replace is taken beforehand.
// A new window (a frame) would bring its constructors back, so no frame can be made here, in any way that we know of.
"use strict";
(() => {
  const { apply } = Reflect;
  const { defineProperty, getOwnPropertyDescriptor, getOwnPropertyNames } = Object;
  // The same list stands in report_html.py; a test compares them.
  const NAMES = ["iframe", "frame", "frameset", "object", "embed", "applet", "portal", "fencedframe", "webview",
    "controlledframe", "base", "link", "meta"];
  const UPPER = ["ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"];
  const XHTML = "http://www.w3.org/1999/xhtml";

  // Only operators and own indices below: no method that the report could have replaced.
  const lower = (char) => {
    for (let i = 0; i < 26; i++) if (UPPER[0][i] === char) return UPPER[1][i];
    return char;
  };
  const forbidden = (name) => {
    let piece = "";
    for (let i = 0; i <= name.length; i++) {
      const char = name[i];
      if (char !== undefined && char !== ":") piece += lower(char);
      else {
        for (let n = 0; n < NAMES.length; n++) if (NAMES[n] === piece) return true;
        piece = "";
      }
    }
    return false;
  };
  const ends = (char) => char === undefined || char === " " || char === "/" || char === ">" || char === "\t" ||
    char === "\n" || char === "\f" || char === "\r";
  const tame = (text) => {
    let out = "";
    for (let i = 0; i < text.length; i++) {
      out += text[i];
      if (text[i] !== "<") continue;
      let name = "";
      // No element that matters has a longer name, with a prefix or without.
      for (let j = i + 1; !ends(text[j]) && j < i + 300; j++) name += text[j];
      if (forbidden(name)) out += "x-";
    }
    return out;
  };

  // Alone in a tab nothing would hold the report back from going elsewhere; without Trusted Types, from making frames.
  const alone = window.top === window;
  const typed = "trustedTypes" in window;
  const policy = typed ? trustedTypes.createPolicy("default", { createHTML: tame }) : null;
  if (alone || !typed) {
    const words = alone ? "This report is shown inside its page." : "This browser cannot hold a report in: it has no " +
      "Trusted Types. Use a current one, or download the report.";
    document.write(`<p style="font: 16px sans-serif">${words}</p><plaintext hidden>`);
    if (alone) location.replace(location.pathname.replace("/frame/", "/view/"));
  }

  const fix = (owner, name, value) => {
    delete owner[name];
    defineProperty(owner, name, { value, writable: false, configurable: false, enumerable: false });
  };
  const gone = /^(webkit)?RTC|^WebTransport|^WebSocket|^EventSource$|^(Shared)?Worker$|^XSLTProcessor$|^PaymentRequest$|^Presentation|^Sanitizer$/;
  const remove = (owner, pattern) => {
    for (const name of getOwnPropertyNames(owner)) {
      const own = getOwnPropertyDescriptor(owner, name);
      if (pattern.test(name) && own.configurable) fix(owner, name, undefined);
    }
  };
  remove(window, gone);
  // Whatever else makes elements from text, today's names and tomorrow's: parts of a tag could come one by one.
  const html = /^(?!(inner|outer|insertAdjacent|get)HTML$|createHTML).*HTML|^stream/;
  remove(Document, html);
  for (const name of getOwnPropertyNames(window)) {
    const owner = /^[A-Z]/.test(name) && window[name] && window[name].prototype;
    if (owner instanceof Node) remove(owner, html);
  }

  const wrap = (owner, name, made) => {
    const original = owner[name];
    fix(owner, name, made(original));
  };
  const inert = (name) => (forbidden(name) ? "x-inert" : name);
  const documents = Document.prototype;
  wrap(documents, "createElement", (make) => function createElement(name) {
    return apply(make, this, [inert(`${name}`)]);
  });
  wrap(documents, "createElementNS", (make) => function createElementNS(space, name) {
    return apply(make, this, [space, inert(`${name}`)]);
  });
  wrap(DOMImplementation.prototype, "createDocument", (make) => function createDocument(space, name) {
    return apply(make, this, [space, name === null || name === undefined ? "" : inert(`${name}`), null]);
  });
  // Without `extends` no class of ours or theirs stands for a frame.
  wrap(CustomElementRegistry.prototype, "define", (define) => function (name, made) {
    return apply(define, this, [name, made]);
  });
  for (const name of ["write", "writeln", "open"]) fix(documents, name, function () {});
  // XML may spell a name in ways that the text does not show (entities): no element of HTML comes out of it.
  const byName = documents.getElementsByTagNameNS;
  const drop = Element.prototype.remove;
  wrap(DOMParser.prototype, "parseFromString", (parse) => function parseFromString(text, type) {
    const kind = `${type}`;
    const made = apply(parse, this, [text, kind]);
    if (kind !== "text/html") {
      const elements = apply(byName, made, [XHTML, "*"]);
      while (elements[0]) apply(drop, elements[0], []);
    }
    return made;
  });
  document.currentScript.remove();
})();
