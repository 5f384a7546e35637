// Browsers start no worker from a page that was opened as a file; a hidden frame searches in its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => this.later(() => this.onmessage?.(new MessageEvent("message", { data })));
      const script = inside.document.createElement("script");
      script.src = address;
      this.ready = new Promise((done, failed) => { script.onload = done; script.onerror = failed; });
      this.ready.catch((error) => this.onerror?.(error));
      inside.document.body.append(script);
    }
    // Never at once: whoever sends is not done yet, as with a real worker.
    later(call) { setTimeout(() => { if (this.frame.isConnected) call(); }); }
    postMessage(message) {
      const data = structuredClone(message);
      this.ready.then(() => this.later(() => this.frame.contentWindow.onmessage(new MessageEvent("message", { data }))));
    }
    terminate() { this.frame.remove(); }
  };
}
